package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"belfry/commands/manual"
	"belfry/server/handover"
)

// upgradeTimeout is how long upgrade waits: a handover takes no longer, however it ends.
const upgradeTimeout = time.Minute

func upgradeCommand(s streams) *manual.Command {
	c := command("upgrade", "--pid N", "replace a running server; its clients stay connected", `
The server starts its program anew, with the arguments that it has itself, and hands over
its connections. See docs/operations.md.
`)
	pid := c.Flags.Int("pid", 0, "`N`, the id of the process that runs belfry serve")
	c.Run = func(args []string) error {
		if *pid <= 0 || len(args) > 0 {
			return &usageError{"upgrade needs --pid and nothing else"}
		}
		return upgrade(*pid, s.out)
	}
	return c
}

// upgrade has a running server hand over to a new process, and says what came of it.
func upgrade(pid int, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), upgradeTimeout)
	defer cancel()
	successor, err := handover.Upgrade(ctx, pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "process %d has taken over from process %d\n", successor, pid)
	return nil
}

// onUpgrade returns where the signals come that ask for a handover. They do not end the
// process from here on.
func onUpgrade() (signals chan os.Signal) {
	signals = make(chan os.Signal, 1)
	if len(upgradeSignals) > 0 {
		signal.Notify(signals, upgradeSignals...)
	}
	return signals
}
