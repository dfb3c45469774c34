-- Read a version, or create it from the clock of Redis, without a lifetime. Replies the version.
local s = redis.call('GET', KEYS[1])
if s then return s end
local t = redis.call('TIME')
s = string.format('%.0f', t[1] * 1000000 + t[2])
redis.call('SET', KEYS[1], s)
return s
