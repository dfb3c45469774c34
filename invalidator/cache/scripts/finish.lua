-- After a writer's commit: fill under the lease that it took before its transaction, else drop.
-- ARGV: token, the whole entry, ttl ms. Replies 1 filled | 0 dropped.
local h = redis.call('GETRANGE', KEYS[1], 0, 98)
if string.sub(h, 31, 46) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if string.sub(h, 14, 29) == ARGV[1] then return 1 end
redis.call('UNLINK', KEYS[1])
return 0
