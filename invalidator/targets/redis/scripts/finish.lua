-- Drop work whose members are deleted, and the note of it.
-- KEYS: pointer, work, pointer, work, …, and the registry where there is one.
local registry = #KEYS % 2 == 1 and KEYS[#KEYS]

for i = 1, #KEYS - 1, 2 do
  redis.call('UNLINK', KEYS[i + 1])
  redis.call('HDEL', KEYS[i], KEYS[i + 1])
  if registry and redis.call('EXISTS', KEYS[i]) == 0 then
    redis.call('SREM', registry, KEYS[i])
  end
end
return 'OK'
