-- After a writer's commit: fill under the lease that it took before its transaction, else drop.
-- A value beside the lease that depends on other names was loaded with tags that the writer does
-- not know: it is dropped, too.
-- ARGV: token, the whole entry, ttl ms, then the names of the entry's line of stamps, each with what
-- stands around it: `"name","`. Replies 1 filled | 0 dropped.
local h = redis.call('GETRANGE', KEYS[1], 0, 98)
local function same_names()
  local ours = string.match(ARGV[2], '\n([^\n]*)\n')
  local theirs = redis.call('GETRANGE', KEYS[1], 99, 99 + #ours)
  local at = 2
  for number = 4, #ARGV do
    local name = ARGV[number]
    local stamp = at + #name
    if string.sub(theirs, at, stamp - 1) ~= name then return false end
    at = (string.find(theirs, '"', stamp, true) or stamp) + 2
  end
  return #theirs == #ours + 1 and string.sub(theirs, at - 1) == (ours == '' and '\n' or ']\n')
end
if string.sub(h, 31, 46) == ARGV[1] and (string.sub(h, 5, 5) ~= 'V' or same_names()) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if string.sub(h, 14, 29) == ARGV[1] then return 1 end
redis.call('UNLINK', KEYS[1])
return 0
