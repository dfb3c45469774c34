-- The load failed, or its value is not cached. ARGV: token, ms for which nobody shall try again.
-- Replies 1 if the lease was the caller's.
local h = redis.call('GETRANGE', KEYS[1], 0, 98)
if string.sub(h, 31, 46) ~= ARGV[1] then return 0 end
local alone = string.sub(h, 5, 5) == 'L'
if alone and ARGV[2] == '0' then return redis.call('UNLINK', KEYS[1]) end
local t = redis.call('TIME')
redis.call('SETRANGE', KEYS[1], 30, '---------------- '
  .. string.format('%013.0f', t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2]))
if alone then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
