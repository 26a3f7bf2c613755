// Package process starts and stops the servers of the benchmark and reads what
// they use from /proc (see proc(5)).
package process
