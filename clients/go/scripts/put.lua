-- Put what was loaded. ARGV: token, the whole entry, ttl ms.
-- Replies 1 put | 0 refused: the lease is gone | 2 refused: the row is older than the one there.
local h = redis.call('GETRANGE', KEYS[1], 0, 98)
if string.sub(h, 31, 46) ~= ARGV[1] then
  if string.sub(h, 14, 29) == ARGV[1] then return 1 end
  return 0
end
if string.sub(h, 76, 91) > string.sub(ARGV[2], 76, 91) and string.sub(ARGV[2], 76, 91) ~= '0000000000000000' then
  redis.call('SETRANGE', KEYS[1], 30, '---------------- 0000000000000')
  return 2
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
