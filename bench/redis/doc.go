// Package redis runs the Redis of a cluster for the benchmark, and reads what it
// has done from its INFO command.
package redis
