-- Applies notifications and advances the offset, all or nothing, and only if it stands where the caller thinks.
-- KEYS: state, docs, all, then per notification: its recipient's, the recipient's unread ones.
-- ARGV: log id, run, expected offset, new offset, then per notification: id, sequence, 1 if unread, document.
-- Answers: 'missing' | 'already' offset | 'behind' offset | 'applied' offset.
local state = redis.call('hmget', KEYS[1], 'log', 'run', 'next')
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] or not state[3] then
  return {'missing', '0'}
end
local stored = tonumber(state[3])
if stored >= tonumber(ARGV[4]) then
  return {'already', state[3]}
end
if stored ~= tonumber(ARGV[3]) then
  return {'behind', state[3]}
end
local key = 4
for arg = 5, #ARGV, 4 do
  local id, sequence = ARGV[arg], ARGV[arg + 1]
  redis.call('hset', KEYS[2], id, ARGV[arg + 3])
  redis.call('zadd', KEYS[3], sequence, id)
  redis.call('zadd', KEYS[key], sequence, id)
  if ARGV[arg + 2] == '1' then
    redis.call('zadd', KEYS[key + 1], sequence, id)
  else
    redis.call('zrem', KEYS[key + 1], id)
  end
  key = key + 2
end
redis.call('hset', KEYS[1], 'next', ARGV[4])
return {'applied', ARGV[4]}
