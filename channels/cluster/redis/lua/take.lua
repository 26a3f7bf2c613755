-- Acknowledges transitions, and lends the bucket's outbox to a node.
--
-- KEYS: the bucket; the outbox; what waits for it. ARGV: node; epoch and position of
-- the receipt; how many transitions to return, 0 to end the lending.
local bucket, outbox, waiting = unpack(KEYS)
local node, most = ARGV[1], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local state = redis.call('HMGET', bucket, 'epoch', 'dead', 'owner', 'position')
if state[2] and string.find(state[2], node, 1, true) then
  return {'lost'}
end
if state[3] and state[3] ~= node then
  return {'held'}
end
if not state[1] then
  return {'done', '', '0', '-1', {}} -- nothing was ever put in
end
local position = tonumber(state[4] or '0')
local acknowledged = tonumber(ARGV[3])
if ARGV[2] == state[1] and acknowledged > position then
  redis.call('LTRIM', outbox, acknowledged - position, -1)
  position = acknowledged
  redis.call('HSET', bucket, 'position', position)
end
while true do
  local ripe = redis.call('ZRANGEBYSCORE', waiting, '-inf', string.format('%.0f', now), 'LIMIT', 0, 500)
  if #ripe == 0 then break end
  redis.call('RPUSH', outbox, unpack(ripe))
  redis.call('ZREM', waiting, unpack(ripe))
end
local list = most > 0 and redis.call('LRANGE', outbox, 0, most - 1) or {}
local next = -1
if #list == 0 then
  if state[3] then redis.call('HDEL', bucket, 'owner') end
  local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  if first[2] then next = math.max(first[2] - now, 0) end
elseif not state[3] then
  redis.call('HSET', bucket, 'owner', node)
end
return {'done', state[1], string.format('%.0f', position + #list), string.format('%.0f', next), list}
