-- Soft invalidation: the value stays for those who may serve stale values, and no load that has
-- begun can be put. It counts as stale for a second already: the clocks of readers differ a
-- little. Replies 1 if there was something.
local h = redis.call('GETRANGE', KEYS[1], 0, 98)
local s = string.sub(h, 1, 5)
if s == '!i1 V' or s == '!i1 N' then
  local t = redis.call('TIME')
  redis.call('SETRANGE', KEYS[1], 30, '---------------- 0000000000000 ' .. string.format('%013.0f', t[1] * 1000 + math.floor(t[2] / 1000) - 1000))
  return 1
end
return redis.call('UNLINK', KEYS[1])
