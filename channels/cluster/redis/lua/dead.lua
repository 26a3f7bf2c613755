-- Notes in a bucket that a node is dead: nothing of it counts from here on, and what
-- it was lent is free.
--
-- KEYS: the bucket. ARGV: node; for how long that is known, in s.
local now = redis.call('TIME')[1]
local state = redis.call('HMGET', KEYS[1], 'dead', 'owner')
local dead = ARGV[1] .. ' ' .. now .. ' '
for node, since in string.gmatch(state[1] or '', '(%S+) (%d+) ') do
  if node ~= ARGV[1] and now - since < tonumber(ARGV[2]) then
    dead = dead .. node .. ' ' .. since .. ' '
  end
end
redis.call('HSET', KEYS[1], 'dead', dead)
redis.call('HDEL', KEYS[1], 'r:' .. ARGV[1])
if state[2] == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'owner')
end
return 1
