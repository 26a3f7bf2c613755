-- KEYS: lock. ARGV: who has it.
-- Takes the lock away from who has it, and from nobody else.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
