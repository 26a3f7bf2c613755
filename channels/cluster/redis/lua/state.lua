-- Returns what the cluster has of a channel.
--
-- KEYS: counts, users, last event, its version. ARGV: channel.
return {
  redis.call('HGET', KEYS[1], ARGV[1]) or '0',
  redis.call('HGET', KEYS[2], ARGV[1]) or '0',
  redis.call('GET', KEYS[3]),
  redis.call('PTTL', KEYS[3]),
  redis.call('GET', KEYS[4]) or '0',
}
