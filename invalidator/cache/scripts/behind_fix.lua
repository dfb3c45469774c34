-- Fix the next batch: all entries up to one, under a token. KEYS[1]: the state.
-- ARGV: flusher, token, last entry. Replies 1 if it is fixed, 0 if somebody else has the lease or
-- has fixed a batch.
local s = redis.call('HMGET', KEYS[1], 'owner', 'token')
if s[2] then return s[2] == ARGV[2] and 1 or 0 end
if s[1] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'last', ARGV[3])
return 1
