-- Forget work that is done: a set without members is no key any more.
-- KEYS: pointer, work, pointer, work, …, and the registry where there is one.
-- Replies, for each, with 1, or with 0 where members are left.
local registry = #KEYS % 2 == 1 and KEYS[#KEYS]

local function finish(pointer, work)
  if redis.call('EXISTS', work) == 1 then
    return 0
  end
  redis.call('HDEL', pointer, work)
  if registry and redis.call('EXISTS', pointer) == 0 then
    redis.call('SREM', registry, pointer)
  end
  return 1
end

local replies = {}
for i = 1, #KEYS - 1, 2 do
  replies[#replies + 1] = finish(KEYS[i], KEYS[i + 1])
end
return replies
