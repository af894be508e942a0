-- Notifications by sequence, as of one moment.
-- KEYS: state, docs, the set to read, the set to count. ARGV: log id, run, 'down' or 'up', the bound, limit.
-- Answers: 'missing' | 'found', offset, size of the set to count, documents.
local state = redis.call('hmget', KEYS[1], 'log', 'run', 'next')
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] or not state[3] then
  return {'missing'}
end
local ids
if ARGV[3] == 'down' then
  ids = redis.call('zrevrangebyscore', KEYS[3], ARGV[4], '-inf', 'limit', 0, ARGV[5])
else
  ids = redis.call('zrangebyscore', KEYS[3], ARGV[4], '+inf', 'limit', 0, ARGV[5])
end
local answer = {'found', state[3], tostring(redis.call('zcard', KEYS[4]))}
for _, id in ipairs(ids) do
  local doc = redis.call('hget', KEYS[2], id)
  -- A set without its document: Redis lost a part (evicted it), and what is left is worth nothing.
  if not doc then
    return {'torn', state[3]}
  end
  answer[#answer + 1] = doc
end
return answer
