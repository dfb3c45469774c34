-- After a writer's commit, with the row's version: replace an older value that is there. Whatever
-- else is there is dropped, an entry with stamps too, and nothing empty is filled.
-- ARGV: row version (16 digits), the whole entry, ttl ms.
-- Replies 1 replaced | 2 what is there is as new | 0 dropped.
local h = redis.call('GETRANGE', KEYS[1], 0, 99)
local s = string.sub(h, 1, 5)
local bare = string.sub(h, 100, 100) == '\n'
if bare and (s == '!i1 V' or s == '!i1 N') then
  local v = string.sub(h, 76, 91)
  if v ~= '0000000000000000' then
    if v >= ARGV[1] then return 2 end
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    return 1
  end
end
redis.call('UNLINK', KEYS[1])
return 0
