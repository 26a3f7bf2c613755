-- Returns the time, the bucket's epoch and number, the number of the last event in a
-- channel's history, or of the bucket if that is not known, and the last events in the
-- history. It returns nothing if there is nothing in the bucket.
--
-- KEYS: the bucket; the channel's history; the number of the last event in that. ARGV: how
-- many events.
local bucket, history, mark = unpack(KEYS)
local state = redis.call('HMGET', bucket, 'epoch', 'number')
if not state[1] then return {} end
local time = redis.call('TIME')
local number = state[2] or '0'
return {
  string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), state[1], number,
  redis.call('GET', mark) or number, redis.call('LRANGE', history, -ARGV[1], -1),
}
