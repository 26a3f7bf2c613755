package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"belfry/server"
	"belfry/server/config"
	"belfry/server/config/watch"
)

// reloader reads the configuration again on SIGHUP and when its files change,
// or those of the certificate that it names.
type reloader struct {
	files   files
	hangup  chan os.Signal
	watched *watch.Files

	// Set before run.
	server *server.Server
	config *config.Config // in force
	log    *slog.Logger
	level  *slog.LevelVar
}

// newReloader begins to take notice. That is before the first load, so that no
// change is missed, and from here on SIGHUP does not end the process.
func newReloader(f files) *reloader {
	r := &reloader{files: f, hangup: make(chan os.Signal, 1), watched: watch.New()}
	signal.Notify(r.hangup, syscall.SIGHUP)
	r.watch(&config.Config{})
	return r
}

// watch is called before what the files of cfg's certificate hold is used, so
// that no change is missed.
func (r *reloader) watch(cfg *config.Config) {
	tls := cfg.Server.TLS
	paths := []string{r.files.config, r.files.env, tls.CertFile, tls.KeyFile}
	r.watched.Watch(slices.DeleteFunc(paths, func(path string) bool { return path == "" })...)
}

func (r *reloader) close() { signal.Stop(r.hangup) }

// run reloads until the context ends.
func (r *reloader) run(ctx context.Context) {
	look := time.NewTicker(watch.Interval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hangup:
			r.watched = watch.New() // what is read now is no change any more
			r.watch(r.config)
		case <-look.C:
			if !r.watched.Changed() {
				continue
			}
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
	r.watch(next)
	r.level.Set(next.Log.Level)
	r.server.Reload(next)
	warn(r.log, next, r.config.Warnings)
	r.config = next
}
