-- Makes a share what a node has of a channel, tells the listeners what follows, puts
-- transitions into the outbox, and returns what it came to.
--
-- KEYS: the bucket; the shares of the node; its users on the channel; the channel's
-- members; its last event; its history; the number of the last event in that; the outbox;
-- what waits for it.
-- ARGV: deadline; node; channel; command to publish with; topic; watch topic; count;
-- flags; most members; grace in µs; count before; epoch of the share; an epoch to
-- begin; how many of those that join are known; for how long an arrival waits after a
-- loss in µs; most that waits; most in the outbox; epoch and number of the last change in
-- the bucket that the node knows of; epoch and number of the version after which it wants
-- the history; for how long the number of the last event in that is remembered, in ms, 0 if
-- there is no history; number of users that leave; these; users that join with their info.
local bucket, shares, present, members, last, history, mark, outbox, waiting = unpack(KEYS)
local deadline, node, channel, publish, topic, watch = unpack(ARGV, 1, 6)
local count, flags, most, grace, had = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local epoch, known, settle, leaving = ARGV[12], tonumber(ARGV[14]), tonumber(ARGV[15]), tonumber(ARGV[23])
local maxwaiting, maxoutbox = tonumber(ARGV[16]), tonumber(ARGV[17])
local call = redis.call

local function flag(n) return flags % (2 * n) >= n end
local whole, tell, watched, load, forDead, record, settling = flag(1), flag(2), flag(4), flag(8), flag(16), flag(32), flag(64)

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(n) return string.format('%.0f', n) end
if now > tonumber(deadline) then
  return {'late', text(now)}
end
local state = call('HMGET', bucket, 'epoch', 'number', 'dead', 'c:' .. channel, 'r:' .. node, 'born')
if not forDead and (not state[5] or state[3] and string.find(state[3], node, 1, true)) then
  return {'lost', text(now)}
end
local current, number = state[1] or ARGV[13], tonumber(state[2] or '0')
local born = state[6] or time[1]
if ARGV[18] == current and tonumber(ARGV[19]) > number then -- Redis has come back with older data
  current, number, born = ARGV[13], tonumber(ARGV[19]), time[1]
end
local again = epoch ~= '' and epoch ~= current
if again and not whole then
  return {'forgotten', text(now)}
end
-- Others may not have told their shares since a loss.
local early = again and time[1] - born <= settle / 1000000
local waits = early or settling
local total, users, version = 0, 0, number
if state[4] then
  local t, u, v = string.match(state[4], '^(%d+) (%d+) (%d+)$')
  total, users, version = tonumber(t), tonumber(u), tonumber(v)
end
local confirmed = had -- in the epoch of the share
if whole or forDead then
  local share = call('HGET', shares, channel)
  had = 0
  if share then
    local c, f, g = string.match(share, '^(%d+) (%d+) (%d+)$')
    had = tonumber(c)
    if forDead then
      flags, grace = tonumber(f), tonumber(g)
      tell, watched, record = flag(2), flag(4), flag(32)
    end
  end
end

-- slice returns a part of a list, every step-th element. unpack has a limit.
local function slice(list, from, to, step)
  local part = {}
  for i = from, to, step do part[#part + 1] = list[i] end
  return part
end

-- chunks calls f with parts of a list, none longer than what a command takes.
local function chunks(list, f)
  for i = 1, #list, 500 do
    f({unpack(list, i, math.min(i + 499, #list))})
  end
end

-- What listeners are told goes out behind all that is written: a Redis that refuses to
-- write would have told it for nothing.
local told = {}
local function announce(where, what) told[#told + 1] = {where, what} end

-- The outbox. A transition is its kind, the length of the channel's name, a space, the
-- name, and a user or a count.
local hint = -1
local function due(after) if hint < 0 or after < hint then hint = after end end
local function transitions(kind, list)
  local all = {}
  for i, what in ipairs(list) do all[i] = kind .. #channel .. ' ' .. channel .. what end
  return all
end
local lost = 0
local function append(list)
  chunks(list, function(part)
    local over = call('RPUSH', outbox, unpack(part)) - maxoutbox
    if over > 0 then
      call('LTRIM', outbox, 0, maxoutbox - 1)
      lost = lost + over
    end
  end)
  if #list > 0 then due(0) end
end
local function wait(list, after)
  chunks(list, function(part)
    local scored = {}
    for i, what in ipairs(part) do
      scored[2 * i - 1], scored[2 * i] = text(now + after), what
    end
    call('ZADD', waiting, unpack(scored))
  end)
  if #list == 0 then return end
  due(after)
  local over = call('ZCARD', waiting) - maxwaiting
  if over > 0 then
    local early, oldest = {}, call('ZPOPMIN', waiting, over)
    for i = 1, #oldest, 2 do early[#early + 1] = oldest[i] end
    append(early)
  end
end
-- without takes those out of what waits that are there, and returns the others, which
-- are of another kind.
local function without(kind, list, other)
  local rest = {}
  chunks(list, function(part)
    local found, names = {}, transitions(kind, part)
    for i, score in ipairs(call('ZMSCORE', waiting, unpack(names))) do
      if score then found[#found + 1] = names[i] else rest[#rest + 1] = part[i] end
    end
    if #found > 0 then call('ZREM', waiting, unpack(found)) end
  end)
  return transitions(other, rest)
end
local function arrive(list, arrival, departure)
  if not record or #list == 0 then return end
  local new = without(departure, list, arrival)
  if waits then
    wait(new, arrival == 'o' and settle or settle + 1) -- the channel first
  else
    append(new)
  end
end
-- stay is arrive for those who were there before the data was lost.
local function stay(list, arrival, departure)
  if not record then return end
  without(departure, list, arrival)
  without(arrival, list, departure)
end
local function depart(list, arrival, departure)
  if not record or #list == 0 then return end
  local gone = without(arrival, list, departure)
  local after = waits and math.max(grace, settle) or grace
  if after > 0 then wait(gone, after) else append(gone) end
end
if record then
  local ripe = call('ZRANGEBYSCORE', waiting, '-inf', text(now))
  append(ripe)
  chunks(ripe, function(part) call('ZREM', waiting, unpack(part)) end)
end

-- The count.
local before = total
total = before - had + count
local stays = again and confirmed > 0
if total > 0 and stays and early then
  stay({''}, 'o', 'v')
elseif total > 0 and before == 0 then
  arrive({''}, 'o', 'v')
end
if watched and (before == 0) ~= (total == 0) then
  announce(watch, total > 0 and 'o1' or 'o0')
end

-- The members. Each is kept as the number of nodes it is on, two numbers by which they
-- are ordered, and its info.
local first = 24 + leaving -- of those that join
local gone, left, joined, infos, full = {}, {}, {}, {}, {}
if whole or count == 0 then
  local here = {}
  if count > 0 then
    for i = first, #ARGV, 2 do here[ARGV[i]] = true end
  end
  if users > 0 then
    for _, user in ipairs(call('SMEMBERS', present)) do
      if not here[user] then gone[#gone + 1] = user end
    end
  end
else
  chunks(slice(ARGV, 24, 23 + leaving, 1), function(part)
    for i, yes in ipairs(call('SMISMEMBER', present, unpack(part))) do
      if yes == 1 then gone[#gone + 1] = part[i] end
    end
  end)
end
chunks(gone, function(part)
  call('SREM', present, unpack(part))
  local fewer, removed = {}, {}
  for i, member in ipairs(call('HMGET', members, unpack(part))) do
    local nodes, rest = string.match(member or '1 ', '^(%d+)( .*)$')
    if tonumber(nodes) > 1 then
      fewer[#fewer + 1], fewer[#fewer + 2] = part[i], (tonumber(nodes) - 1) .. rest
    else
      removed[#removed + 1], left[#left + 1] = part[i], part[i]
    end
  end
  if #fewer > 0 then call('HSET', members, unpack(fewer)) end
  if #removed > 0 then call('HDEL', members, unpack(removed)) end
end)
users = users - #left
if again then -- who has left since the loss may be unknown here
  chunks(slice(ARGV, 24, 23 + leaving, 1), function(part)
    local missing, elsewhere = {}, {}
    for i, member in ipairs(call('HMGET', members, unpack(part))) do
      local list = member and elsewhere or missing
      list[#list + 1] = part[i]
    end
    depart(missing, '+', '-')
    if early then stay(elsewhere, '+', '-') end
  end)
else
  depart(left, '+', '-')
end
if count > 0 then
  local all = slice(ARGV, first, #ARGV, 2)
  if early then
    stay(slice(all, 1, known, 1), '+', '-')
  end
  local new, index = {}, 0
  chunks(all, function(part)
    local here, member = call('SMISMEMBER', present, unpack(part)), call('HMGET', members, unpack(part))
    local added, set = {}, {}
    for i, user in ipairs(part) do
      index = index + 1
      if here[i] == 0 then
        local info = ARGV[first + 2 * index - 1]
        if member[i] then
          local nodes, rest = string.match(member[i], '^(%d+)( .*)$')
          set[#set + 1], set[#set + 2] = user, (tonumber(nodes) + 1) .. rest
          added[#added + 1] = user
        elseif most > 0 and users >= most and index > known then
          full[#full + 1] = user
        else
          users = users + 1
          set[#set + 1], set[#set + 2] = user, '1 ' .. text(number + 1) .. ' ' .. index .. ' ' .. info
          added[#added + 1], joined[#joined + 1], infos[#infos + 1] = user, user, info
          if not (early and index <= known) then new[#new + 1] = user end
        end
      end
    end
    if #added > 0 then
      call('HSET', members, unpack(set))
      call('SADD', present, unpack(added))
    end
  end)
  arrive(new, '+', '-')
end
if total == 0 and (before > 0 or stays) then
  depart({''}, 'o', 'v')
end

-- The messages about members: 500 of them at most in each.
local pieces = {}
local function send()
  if #pieces == 0 then return end
  local after = version
  number = number + 1
  version = number
  announce(topic, 'm' .. text(number) .. ' ' .. text(after) .. ' ' .. current .. ' ' .. table.concat(pieces))
  pieces = {}
end
local function piece(what)
  pieces[#pieces + 1] = what
  if #pieces == 500 then send() end
end
for _, user in ipairs(left) do piece('-' .. #user .. ' ' .. user) end
for i, user in ipairs(joined) do piece('+' .. #user .. ' ' .. user .. #infos[i] .. ' ' .. infos[i]) end
send()

if tell and total ~= before then
  announce(topic, 'c' .. text(total))
  if record then append(transitions('c', {text(total)})) end
end

-- What has changed.
local set = {}
if current ~= state[1] then set = {'epoch', current, 'born', born} end
if number ~= tonumber(state[2] or '0') then
  set[#set + 1], set[#set + 2] = 'number', text(number)
end
local is = total > 0 and text(total) .. ' ' .. text(users) .. ' ' .. text(version)
if is and is ~= state[4] then
  set[#set + 1], set[#set + 2] = 'c:' .. channel, is
elseif not is and state[4] then
  call('HDEL', bucket, 'c:' .. channel)
end
if #set > 0 then call('HSET', bucket, unpack(set)) end
if count > 0 then
  call('HSET', shares, channel, count .. ' ' .. flags .. ' ' .. text(grace))
elseif had > 0 or whole or forDead then
  call('HDEL', shares, channel)
end

for _, one in ipairs(told) do call(publish, one[1], one[2]) end

local answer = {'done', text(now), current, text(version), text(total), full, text(hint), text(lost)}
if load then
  answer[9] = call('HGETALL', members)
  answer[10] = {call('GET', last) or nil}
  local remember, newest, events = tonumber(ARGV[22]), call('GET', mark), {}
  if remember > 0 and not newest then
    newest = text(version) -- no event has a higher one
    call('SET', mark, newest, 'PX', remember)
  elseif remember > 0 and call('PTTL', mark) < remember then
    call('PEXPIRE', mark, remember)
  end
  if ARGV[20] == current then
    local since = tonumber(ARGV[21])
    for _, entry in ipairs(call('LRANGE', history, 0, -1)) do
      if tonumber(string.match(entry, '^%d+')) > since then events[#events + 1] = entry end
    end
  end
  answer[11], answer[12] = tonumber(newest or number), events
end
return answer
