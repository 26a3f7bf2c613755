//go:build unix

package main

import (
	"os"
	"syscall"
)

// upgradeSignals ask for a handover.
var upgradeSignals = []os.Signal{syscall.SIGUSR2}
