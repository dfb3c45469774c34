-- Take the right to load. KEYS[1]: the entry.
-- ARGV: token, lease ms, record ms, id of the value that the caller saw ('' for none), mode.
-- mode: miss (the caller can use nothing of what is there), refresh (it can), write (a writer,
-- before its transaction).
-- Replies {1 granted | 0 somebody holds it | 2 the value has changed: read again | 3 a foreign
-- string, which is left alone; now in ms; ms until the lease may be taken over}.
local none = '----------------'
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local till = string.format('%013.0f', now + ARGV[2])
local h = redis.call('GETRANGE', KEYS[1], 0, 98)
local ours = #h == 99 and string.sub(h, 1, 4) == '!i1 '
if #h > 0 and not ours then return {3, now, 0} end
local value = ours and string.sub(h, 5, 5) ~= 'L'
if ours and ARGV[5] ~= 'write' then
  local lease = string.sub(h, 31, 46)
  if lease == ARGV[1] then return {1, now, 0} end
  if value and string.sub(h, 14, 29) ~= ARGV[4] then return {2, now, 0} end
  local left = tonumber(string.sub(h, 48, 60)) - now
  if left > 0 and string.sub(lease, 1, 1) ~= '~' then return {0, now, left} end
end
if value and ARGV[5] ~= 'miss' then
  redis.call('SETRANGE', KEYS[1], 30, ARGV[1] .. ' ' .. till)
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
else
  redis.call('SET', KEYS[1], '!i1 L-- 0000 ' .. none .. ' ' .. ARGV[1] .. ' ' .. till
    .. ' 0000000000000 0000000000000000 000000\n', 'PX', ARGV[3])
end
return {1, now, 0}
