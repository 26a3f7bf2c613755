-- Publishes a message, unless one with the same key was published.
--
-- KEYS: the publication's key. ARGV: command to publish with; topic; message; for how
-- long the key is remembered, in ms.
local publish, topic, message, life = unpack(ARGV)
if redis.call('SET', KEYS[1], '', 'NX', 'PX', life) then
  redis.call(publish, topic, message)
end
return 1
