package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"belfry/server"
	"belfry/server/config"
	"belfry/server/config/watch"
)

// reloader reads the configuration again on SIGHUP and when its files change.
type reloader struct {
	files   files
	hangup  chan os.Signal
	watched *watch.Files // nil without files, or when it failed
	failed  error

	// Set before run.
	server *server.Server
	config *config.Config // in force
	log    *slog.Logger
	level  *slog.LevelVar
}

// newReloader begins to take notice. That is before the first load, so that no
// change is missed, and from here on SIGHUP does not end the process.
func newReloader(f files) *reloader {
	r := &reloader{files: f, hangup: make(chan os.Signal, 1)}
	signal.Notify(r.hangup, syscall.SIGHUP)
	var paths []string
	for _, path := range []string{f.config, f.env} {
		if path != "" {
			paths = append(paths, path)
		}
	}
	if len(paths) > 0 {
		r.watched, r.failed = watch.New(paths...)
	}
	return r
}

func (r *reloader) close() {
	signal.Stop(r.hangup)
	if r.watched != nil {
		r.watched.Close()
	}
}

// run reloads until the context ends.
func (r *reloader) run(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	var changes <-chan struct{}
	if r.watched != nil {
		changes = r.watched.Changes()
		watching.Go(func() { r.watched.Run(ctx, r.log) })
	} else if r.failed != nil {
		r.log.Warn("changes of files are not noticed: send SIGHUP to reload", "error", r.failed)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangup:
		case <-changes:
		}
		r.reload()
	}
}

func (r *reloader) reload() {
	env, err := environment(r.files)
	var next *config.Config
	if err == nil {
		next, err = r.config.Reload(r.files.config, env)
	}
	if err != nil {
		r.server.ReloadFailed(err)
		return
	}
	r.level.Set(next.Log.Level)
	r.server.Reload(next)
	r.config = next
}
