-- Begins an empty inbox unless this history has one already.
-- KEYS: state. ARGV: log id, a name for the new one's keys. Answers: name, offset.
local state = redis.call('hmget', KEYS[1], 'log', 'run', 'next')
if state[1] == ARGV[1] and state[2] and state[3] then
  return {state[2], state[3]}
end
redis.call('del', KEYS[1])
redis.call('hset', KEYS[1], 'log', ARGV[1], 'run', ARGV[2], 'next', '0')
return {ARGV[2], '0'}
