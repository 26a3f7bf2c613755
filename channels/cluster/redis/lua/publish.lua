-- Publishes messages, if it is not too late and has not been done or given up.
--
-- KEYS: the record that it was done; then for each message that is kept: last
-- event, its version.
-- ARGV: deadline, life of the record in ms, command to publish with, how long a
-- version outlives its event in ms; then for each message: topic, payload, how
-- long it is kept in ms.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local clock = string.format('%.0f', now)
if now > tonumber(ARGV[1]) then
  return {'late', clock}
end
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[2]) then
  return {'again', clock}
end
local key = 2
for i = 5, #ARGV, 3 do
  local topic, payload, keep = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  local version = 0
  if keep > 0 then
    version = redis.call('INCR', KEYS[key + 1])
    redis.call('PEXPIRE', KEYS[key + 1], keep + ARGV[4])
    redis.call('SET', KEYS[key], payload, 'PX', keep)
    key = key + 2
  end
  redis.call(ARGV[3], topic, 'p' .. version .. ' ' .. payload)
end
return {'done', clock}
