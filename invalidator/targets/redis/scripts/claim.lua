-- Claim tag sets in one step, so that members added from now on go into new sets.
-- KEYS: tag, pointer, tag, pointer, …, and the registry where there is one.
-- ARGV: the type a tag must have, a token that no other claim uses, the members' prefix.
-- Returns for each tag all work to be consumed, including that of earlier tries.
local want, token, prefix = ARGV[1], ARGV[2], ARGV[3]
local registry = #KEYS % 2 == 1 and KEYS[#KEYS]

local function claim(tag, pointer)
  local is = redis.call('TYPE', tag).ok
  if is ~= 'none' and is ~= want then
    return redis.error_reply('WRONGTYPE the tag is a ' .. is .. ', not a ' .. want)
  end
  if is ~= 'none' then
    local work = pointer .. ':' .. token
    -- First, since it frees memory: after one write, a full server allows a script others.
    redis.call('RENAMENX', tag, work)
    local noted = redis.pcall('HSET', pointer, work, want .. ':' .. prefix)
    if type(noted) == 'table' and noted.err then
      -- Without a note nobody would find it, and the next try would take the tag for absent.
      redis.call('RENAMENX', work, tag)
      return noted
    end
    redis.call('PERSIST', work)
    if registry then
      redis.call('SADD', registry, pointer)
    end
  end
  return redis.call('HGETALL', pointer)
end

if registry then
  -- Changes nothing, but a replica rejects it: a tag absent there may exist on the primary.
  redis.call('SREM', registry, '')
end

local replies = {}
for i = 1, #KEYS - 1, 2 do
  replies[#replies + 1] = claim(KEYS[i], KEYS[i + 1])
end
return replies
