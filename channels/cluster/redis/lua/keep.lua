-- Publishes a message, and keeps it as the channel's last event, in its history, or both.
--
-- KEYS: the bucket; the channel's last event; its history; the number of the last event in
-- that; the publication's key, if it has one: then nothing is done if one with the same key
-- was published. ARGV: command to publish with; topic; channel; payload; an epoch to begin;
-- for how long the key is remembered; how long it is the last event, 0 if it is not; how
-- many the history keeps, 0 if not even this one; how long it keeps this one; for how long
-- its number is remembered; epoch and number of the last change in the bucket that the node
-- knows of. Times are in ms. Returns epoch and number of the bucket then, or nothing.
local bucket, last, history, mark, once = unpack(KEYS)
local publish, topic, channel, payload = unpack(ARGV, 1, 4)
local lastfor, events, life = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
if once and not redis.call('SET', once, '', 'NX', 'PX', ARGV[6]) then return {} end
local function text(n) return string.format('%.0f', n) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', bucket, 'epoch', 'number', 'c:' .. channel)
local before, epoch = state[2] or '0', state[1] or ARGV[5]
if ARGV[11] == epoch and tonumber(ARGV[12]) > tonumber(before) then -- Redis has come back with older data
  epoch, before = ARGV[5], ARGV[12]
end
local number, after = text(before + 1), '0'
local set = {'epoch', epoch, 'number', number}
if epoch ~= state[1] then set[5], set[6] = 'born', time[1] end
if state[3] then
  local counts, version = string.match(state[3], '^(%d+ %d+ )(%d+)$')
  after = version
  set[#set + 1], set[#set + 2] = 'c:' .. channel, counts .. number
end
redis.call('HSET', bucket, unpack(set))
local function entry(kept) return number .. ' ' .. text(now + kept) .. ' ' .. text(now) .. ' ' .. before .. ' ' .. payload end
if events > 0 then
  before = redis.call('SET', mark, number, 'PX', ARGV[10], 'GET') or before
  redis.call('RPUSH', history, entry(life))
  redis.call('LTRIM', history, -events, -1)
  redis.call('PEXPIRE', history, text(life))
end
if lastfor > 0 then
  redis.call('SET', last, entry(lastfor), 'PX', text(lastfor))
end
redis.call(publish, topic, 'k' .. number .. ' ' .. after .. ' ' .. epoch .. ' ' .. payload)
return {epoch, number}
