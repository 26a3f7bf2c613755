//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"belfry/bench/process"
)

// tooBusy is the share of the processors, in percent, that others may have.
const tooBusy = 5

// contention is who had the processors during the measurements.
type contention struct {
	start time.Time
	last  spent // at start

	wall    time.Duration // all measurements so far
	sum     spent
	unknown bool // a server's time cannot be told from that of others
}

// spent is processors' time.
type spent struct{ all, clients, server time.Duration }

func (c *contention) begin(i *instance) (err error) {
	c.start = time.Now()
	c.unknown = c.unknown || i.pid == 0
	c.last, err = spentBy(i)
	return err
}

func (c *contention) end(i *instance) error {
	now, err := spentBy(i)
	if err != nil {
		return err
	}
	c.unknown = c.unknown || i.pid == 0
	c.wall += time.Since(c.start)
	c.sum.all += now.all - c.last.all
	c.sum.clients += now.clients - c.last.clients
	c.sum.server += now.server - c.last.server
	return nil
}

func spentBy(i *instance) (s spent, err error) {
	if s.all, err = process.Busy(); err != nil {
		return s, err
	}
	if s.clients, err = process.CPU(os.Getpid()); err != nil {
		return s, err
	}
	if s.server, err = i.cpu(); err != nil || i.redis == nil {
		return s, err
	}
	used, err := process.CPU(i.redis.PID())
	s.server += used
	return s, err
}

func (c *contention) note() string {
	cores := runtime.NumCPU()
	var name unix.Utsname
	_ = unix.Uname(&name) // an empty release is no harm
	text := fmt.Sprintf("%d cores, Linux %s.", cores, unix.ByteSliceToString(name.Release[:]))
	if c.unknown || c.wall == 0 {
		return text
	}
	share := func(d time.Duration) float64 { return 100 * float64(d) / float64(c.wall) / float64(cores) }
	others := max(0, share(c.sum.all-c.sum.clients-c.sum.server))
	text += fmt.Sprintf(" Of them, the servers took %.0f %%, the clients %.0f %%, other processes %.0f %%.",
		share(c.sum.server), share(c.sum.clients), others)
	if others > tooBusy {
		text += " The others took too much for reliable figures."
	}
	return text
}
