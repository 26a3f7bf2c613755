-- Publishes a message, and keeps it as one of the channel's last events.
--
-- KEYS: the bucket; the channel's kept events; the publication's key, if it has one: then
-- nothing is done if one with the same key was published. ARGV: command to publish with;
-- topic; channel; payload; how long it is kept in ms; how many are kept; an epoch to begin;
-- for how long the key is remembered, in ms.
local bucket, kept = unpack(KEYS)
local publish, topic, channel, payload, life = unpack(ARGV, 1, 5)
if KEYS[3] and not redis.call('SET', KEYS[3], '', 'NX', 'PX', ARGV[8]) then return 1 end
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + life
local state = redis.call('HMGET', bucket, 'epoch', 'number', 'c:' .. channel)
local epoch, number, after = state[1] or ARGV[7], string.format('%.0f', tonumber(state[2] or '0') + 1), '0'
local set = {'epoch', epoch, 'number', number}
if not state[1] then set[5], set[6] = 'born', time[1] end
if state[3] then
  local counts, version = string.match(state[3], '^(%d+ %d+ )(%d+)$')
  after = version
  set[#set + 1], set[#set + 2] = 'c:' .. channel, counts .. number
end
redis.call('HSET', bucket, unpack(set))
redis.call('RPUSH', kept, number .. ' ' .. string.format('%.0f', expires) .. ' ' .. payload)
redis.call('LTRIM', kept, -ARGV[6], -1)
redis.call('PEXPIRE', kept, life)
redis.call(publish, topic, 'k' .. number .. ' ' .. after .. ' ' .. epoch .. ' ' .. payload)
return 1
