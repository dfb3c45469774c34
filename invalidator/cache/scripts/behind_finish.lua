-- The batch was flushed: remove its entries. KEYS: the journal, its state.
-- ARGV: token, the id that follows the batch's last entry. Replies 1, or 0 if another has done it.
if redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then return 0 end
redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
redis.call('HDEL', KEYS[2], 'token', 'last', 'singly', 'failures')
return 1
