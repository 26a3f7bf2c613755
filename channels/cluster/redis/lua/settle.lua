-- Makes departures final, and returns of each whether it has lasted: 1, or 0 if
-- it was taken back.
--
-- KEYS: departures of the channel. ARGV: users, '' for the channel itself.
local lasted = {}
for i, what in ipairs(ARGV) do
  lasted[i] = redis.call('HDEL', KEYS[1], what)
end
return lasted
