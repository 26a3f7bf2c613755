package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"belfry/server/handover"
)

// upgradeTimeout is how long upgrade waits: a handover takes no longer, however it ends.
const upgradeTimeout = time.Minute

// upgrade has a running server hand over to a new process, and says what came of it.
func upgrade(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("belfry upgrade", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pid := flags.Int("pid", 0, "`id` of the process that runs belfry serve")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &usageError{err.Error()}
	}
	if *pid <= 0 || flags.NArg() > 0 {
		return &usageError{"upgrade needs --pid and nothing else"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), upgradeTimeout)
	defer cancel()
	successor, err := handover.Upgrade(ctx, *pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "process %d has taken over from process %d\n", successor, *pid)
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
