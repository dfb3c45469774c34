-- Raise each version in KEYS above its old value and to the clock's microseconds, without expiry;
-- and above ARGV[1], since the old value may have been evicted and the clock have gone back.
-- '%.0f' is exact up to 2^53: `..` and tostring round to 14 digits, and some servers write a
-- number argument as 9e+15.
-- Returns for each key its new value, or why it cannot be raised.
local LIMIT = 9007199254740992 -- 2^53: from here on numbers are no longer exact
local LONGEST = 400 -- digits: more than the largest number has

local time = redis.call('TIME')
local now = math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), tonumber(ARGV[1]) + 1)

local function bump(key)
  -- Asked first, since reading a large value would block the server for seconds.
  local size = redis.pcall('STRLEN', key)
  if type(size) == 'table' then
    return size
  end
  if size > LONGEST then
    return redis.error_reply('NOTANUMBER the version holds ' .. size .. ' bytes, which is not a number')
  end
  local old = redis.pcall('GET', key)
  if type(old) == 'table' then
    return old
  end
  local new = now
  if old then
    if not string.find(old, '^%-?%d+$') and not string.find(old, '^%-?%d+%.%d+$') then
      return redis.error_reply('NOTANUMBER the version does not hold a number')
    end
    new = math.max(math.floor(tonumber(old)) + 1, now)
  end
  if new >= LIMIT then
    return redis.error_reply('TOOLARGE the version has reached 2^53, where it is no longer exact')
  end
  redis.call('SET', key, string.format('%.0f', new))
  return new
end

local replies = {}
for i, key in ipairs(KEYS) do
  replies[i] = bump(key)
end
return replies
