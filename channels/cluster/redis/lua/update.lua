-- Makes a share what a node has of a channel, tells the listeners what follows,
-- and returns what it came to.
--
-- KEYS of the bucket: counts, users; of the channel: shares, members, order,
-- version, last event, its version, told count; of the node: its channels, its
-- tombstone; of both: its users there, transitions; of the channel: departures.
-- ARGV: deadline, node, channel, command to publish with, topic, watch topic,
-- count, flags, most members, number of this update, number of the first one
-- whose answer is missing (0: none), life of versions and of transitions in ms,
-- how many subscriptions are always told, interval of telling in µs, how long a
-- departure may be taken back in µs, how much longer it may be settled in ms,
-- number of users that leave, these, users that join with their info.
local counts, users, shares, members, order, version, last, lastversion, told, mine, tomb, present, transitions, departures = unpack(KEYS)
local deadline, node, channel, publish, topic, watch = unpack(ARGV, 1, 6)
local count, flags, most, number, unanswered = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10], tonumber(ARGV[11])
local linger, remember, always, interval = ARGV[12], ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[15])
local grace, settle, leaving = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])

local function flag(n) return flags % (2 * n) >= n end
local reset, tell, watched, load, bury = flag(1), flag(2), flag(4), flag(8), flag(16)

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local clock = string.format('%.0f', now)
if now > tonumber(deadline) then
  return {'late', clock}
end
if not bury and redis.call('EXISTS', tomb) == 1 then
  return {'lost', clock}
end

local missed = {}
if unanswered > 0 then
  for _, entry in ipairs(redis.call('LRANGE', transitions, 0, -1)) do
    local of, what = string.match(entry, '^(%d+) (.*)$')
    if tonumber(of) >= unanswered then
      missed[#missed + 1] = what
    end
  end
end

local happened = {}
local function happen(what) happened[#happened + 1] = what end
local function send(to, message) redis.call(publish, to, message) end

-- A departure, of a user or with '' of the channel, may be taken back.
local function depart(what)
  if grace > 0 then
    redis.call('HSET', departures, what, string.format('%.0f', now + grace))
    redis.call('PEXPIRE', departures, grace / 1000 + settle)
  end
end
local function back(what)
  local till = redis.call('HGET', departures, what)
  if not till then return false end
  redis.call('HDEL', departures, what)
  return now < tonumber(till)
end

-- The count.
local before = tonumber(redis.call('HGET', counts, channel) or '0')
local had = redis.call('HGET', shares, node)
local mycount = 0
if had then
  local c, f, g = string.match(had, '^(%d+) (%d+) (%d+)$')
  mycount = tonumber(c)
  if bury then
    flags, grace = tonumber(f), tonumber(g)
    tell, watched = flag(2), flag(4)
  end
end
local total = before - mycount + count
if count > 0 then
  local share = count .. ' ' .. flags .. ' ' .. ARGV[16]
  if share ~= had then
    redis.call('HSET', shares, node, share)
  end
  if not had then
    redis.call('SADD', mine, channel)
  end
elseif had or bury then
  redis.call('HDEL', shares, node)
  redis.call('SREM', mine, channel)
end
if total == 0 then
  redis.call('HDEL', counts, channel)
elseif total ~= before then
  redis.call('HSET', counts, channel, total)
end
if before == 0 and total > 0 then
  if not back('') then happen('o') end
  if watched then send(watch, 'o1') end
elseif before > 0 and total == 0 then
  happen('v')
  depart('')
  if watched then send(watch, 'o0') end
end

-- The members. Each is kept as the number of nodes it is on, and its info.
local changed = false
local function leave(user)
  if redis.call('SREM', present, user) == 0 then return end
  local nodes, info = string.match(redis.call('HGET', members, user) or '1:', '^(%d+):(.*)$')
  nodes = tonumber(nodes) - 1
  if nodes > 0 then
    redis.call('HSET', members, user, nodes .. ':' .. info)
    return
  end
  redis.call('HDEL', members, user)
  redis.call('ZREM', order, user)
  changed = true
  send(topic, 'r' .. redis.call('INCR', version) .. ' ' .. user)
  happen('-' .. user)
  depart(user)
end

local function join(user, info)
  if redis.call('SISMEMBER', present, user) == 1 then return end
  local member = redis.call('HGET', members, user)
  if member then
    local nodes, first = string.match(member, '^(%d+):(.*)$')
    redis.call('HSET', members, user, (nodes + 1) .. ':' .. first)
    redis.call('SADD', present, user)
    return
  end
  if most > 0 and redis.call('HLEN', members) >= most then
    happen('=' .. user)
    return
  end
  redis.call('HSET', members, user, '1:' .. info)
  local newest = redis.call('ZRANGE', order, -1, -1, 'WITHSCORES')[2] or '0'
  redis.call('ZADD', order, newest + 1, user)
  redis.call('SADD', present, user)
  changed = true
  send(topic, 'a' .. redis.call('INCR', version) .. ' ' .. #user .. ' ' .. user .. info)
  if not back(user) then happen('+' .. user) end
end

if reset or count == 0 then
  local stay = {}
  if count > 0 then
    for i = 19 + leaving, #ARGV, 2 do stay[ARGV[i]] = true end
  end
  for _, user in ipairs(redis.call('SMEMBERS', present)) do
    if not stay[user] then leave(user) end
  end
else
  for i = 19, 18 + leaving do leave(ARGV[i]) end
end
if count > 0 then
  for i = 19 + leaving, #ARGV, 2 do join(ARGV[i], ARGV[i + 1]) end
end
if changed then
  local size = redis.call('HLEN', members)
  if size == 0 then
    redis.call('HDEL', users, channel)
  else
    redis.call('HSET', users, channel, size)
  end
  redis.call('PERSIST', version)
end
if total == 0 then
  redis.call('PEXPIRE', version, linger)
end

-- Telling the count.
local counted = '0' -- 1: told, 2: to be told later
if tell then
  local known, at = before, nil
  local record = redis.call('GET', told)
  if record then
    local c, t = string.match(record, '^(%d+) (%d+)$')
    known, at = tonumber(c), tonumber(t)
  end
  if total ~= known then
    if at and total > always and now - at < interval then
      counted = '2'
    else
      counted = '1'
      redis.call('SET', told, total .. ' ' .. clock)
      send(topic, 'c' .. total)
    end
  end
end
if total == 0 then
  redis.call('DEL', told)
end

-- What happened is kept for a while, in case the answer gets lost.
if unanswered == 0 then
  redis.call('DEL', transitions)
end
if #happened > 0 and not bury then
  redis.call('RPUSH', transitions, number .. ' ' .. cjson.encode(happened))
  redis.call('PEXPIRE', transitions, remember)
end

local answer = {'done', clock, total, counted, happened, missed, redis.call('GET', version) or '0'}
if load then
  local roster = redis.call('ZRANGE', order, 0, -1)
  local list = {}
  for i, user in ipairs(roster) do
    list[2 * i - 1] = user
    list[2 * i] = string.match(redis.call('HGET', members, user) or '1:', '^%d+:(.*)$')
  end
  answer[8] = list
  answer[9] = redis.call('GET', last)
  answer[10] = redis.call('PTTL', last)
  answer[11] = redis.call('GET', lastversion) or '0'
end
return answer
