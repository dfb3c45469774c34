-- Read a tag's stamp, or create it; its life is only ever prolonged. Always before the load.
-- ARGV: token, lifetime ms. Replies the stamp.
local s = redis.call('GET', KEYS[1])
if s then
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return s
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
