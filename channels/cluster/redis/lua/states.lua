-- Returns channel, count and users of all channels of a bucket whose name has a
-- prefix.
--
-- KEYS: the bucket. ARGV: prefix.
local prefix = 'c:' .. ARGV[1]
local found = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #prefix) == prefix then
    local n = #found
    found[n + 1] = string.sub(all[i], 3)
    found[n + 2], found[n + 3] = string.match(all[i + 1], '^(%d+) (%d+)')
  end
end
return found
