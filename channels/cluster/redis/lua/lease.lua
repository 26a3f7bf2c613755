-- Renews the lease of a node, and gives it the nodes that have died, to take their shares away.
--
-- KEYS: leases, claims: nodes by when they end, in µs; since when the cluster has its data.
-- ARGV: deadline, node, life of a lease in µs, life of a claim in µs, 1 to begin
-- a lease, how many of the dead to claim; then the nodes whose claims are
-- renewed.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local clock = string.format('%.0f', now)
if now > tonumber(ARGV[1]) then
  return {'late', clock}
end
local leases, claims = KEYS[1], KEYS[2]
redis.call('SETNX', KEYS[3], clock)
local function ends(life) return string.format('%.0f', now + life) end

if ARGV[5] ~= '1' and not redis.call('ZSCORE', leases, ARGV[2]) then
  return {'lost', clock}
end
redis.call('ZADD', leases, ends(ARGV[3]), ARGV[2])
for i = 7, #ARGV do
  redis.call('ZADD', claims, 'XX', ends(ARGV[4]), ARGV[i])
end

local most = tonumber(ARGV[6])
local dead = {}
local function claim(from)
  if #dead == most then return end
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', from, '-inf', clock, 'LIMIT', 0, most - #dead)) do
    redis.call('ZREM', leases, node)
    redis.call('ZADD', claims, ends(ARGV[4]), node)
    dead[#dead + 1] = node
  end
end
claim(leases)
claim(claims)
return {'done', clock, dead, redis.call('GET', KEYS[3])}
