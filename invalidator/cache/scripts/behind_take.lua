-- Take or keep the lease of a journal's flusher. KEYS: the journal, its state.
-- ARGV: flusher, lease ms, size, interval ms.
-- Replies {0, ms until the lease ends} to all but its owner; or {1, 1 if a batch is due, the token
-- and the last entry of the batch that is fixed ('' for none), '1' if its rows are flushed one by
-- one, its failures so far}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local s = redis.call('HMGET', KEYS[2], 'owner', 'until', 'token', 'last', 'singly', 'failures')
local left = tonumber(s[2] or 0) - now
if left > 0 and s[1] ~= ARGV[1] then return {0, left} end
redis.call('HSET', KEYS[2], 'owner', ARGV[1], 'until', string.format('%.0f', now + ARGV[2]))
local due = 0
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  due = 1
else
  local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if first and now - tonumber(string.match(first[1], '^%d+')) >= tonumber(ARGV[4]) then due = 1 end
end
return {1, due, s[3] or '', s[4] or '', s[5] or '', tonumber(s[6] or 0)}
