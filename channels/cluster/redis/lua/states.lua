-- Returns channel, count and users of all channels of a bucket whose name has a
-- prefix.
--
-- KEYS: counts, users. ARGV: prefix.
local prefix = ARGV[1]
local found = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #prefix) == prefix then
    local n = #found
    found[n + 1], found[n + 2] = all[i], all[i + 1]
    found[n + 3] = redis.call('HGET', KEYS[2], all[i]) or '0'
  end
end
return found
