//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: runs on Linux only: its clients use epoll, and it reads the servers' CPU time and memory from /proc")
	os.Exit(1)
}
