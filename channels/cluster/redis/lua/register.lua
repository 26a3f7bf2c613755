-- Notes that a node will have shares in a bucket, if it has a lease.
--
-- KEYS: leases, the buckets of the node. ARGV: node, bucket.
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
redis.call('SADD', KEYS[2], ARGV[2])
return 1
