-- Give up the lease, so that nobody has it for some ms. KEYS[1]: the state.
-- ARGV: flusher, ms, token of the batch that failed ('' for none), '1' if its rows are flushed one
-- by one from now on. Replies 1, or 0 if it was somebody else's.
local s = redis.call('HMGET', KEYS[1], 'owner', 'token')
if s[1] ~= ARGV[1] then return 0 end
local t = redis.call('TIME')
local till = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2]
redis.call('HSET', KEYS[1], 'owner', '', 'until', string.format('%.0f', till))
if ARGV[3] ~= '' and s[2] == ARGV[3] then
  redis.call('HINCRBY', KEYS[1], 'failures', 1)
  if ARGV[4] == '1' then redis.call('HSET', KEYS[1], 'singly', '1') end
end
return 1
