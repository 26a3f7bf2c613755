//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: runs on Linux only: its clients use epoll, and it asks the kernel for the servers' CPU time and memory")
	os.Exit(1)
}
