-- Deletes keys that belong to no inbox any more. The run is read here and now: it may have changed since they were found.
-- KEYS: state, keys. ARGV: what all keys begin with.
local own = ARGV[1] .. ':' .. (redis.call('hget', KEYS[1], 'run') or '') .. ':'
for number = 2, #KEYS do
  if KEYS[number]:sub(1, #own) ~= own then
    redis.call('unlink', KEYS[number])
  end
end
return redis.status_reply('OK')
