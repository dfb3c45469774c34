-- Raise a version above its old value and to the clock of Redis, without a lifetime, as the daemon
-- does. Numbers stay below 2^53; `..` and tostring would round them. Replies the version.
local old = redis.call('GET', KEYS[1])
local t = redis.call('TIME')
local new = t[1] * 1000000 + t[2]
if old then
  if not string.find(old, '^%d+$') or #old > 16 then
    return redis.error_reply('NOTANUMBER the version holds something that is no number')
  end
  new = math.max(tonumber(old) + 1, new)
end
local text = string.format('%.0f', new)
redis.call('SET', KEYS[1], text)
return text
