//go:build !unix

package main

import "os"

// upgradeSignals are none on this system.
var upgradeSignals []os.Signal
