package main

import (
	"context"
	"fmt"
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
}

// newReloader begins to take notice. That is before the first load, so that no
// change is missed, and from here on SIGHUP does not end the process.
func newReloader(f files) *reloader {
	r := &reloader{files: f, hangup: make(chan os.Signal, 1), watched: watch.New()}
	signal.Notify(r.hangup, syscall.SIGHUP)
	r.watch(&config.Config{})
	return r
}

// watch watches the files of the configuration and of cfg's certificate. Call it
// before that certificate is loaded: a change in between is then noticed.
func (r *reloader) watch(cfg *config.Config) {
	tls := cfg.Server.TLS
	paths := []string{r.files.config, r.files.env, tls.CertFile, tls.KeyFile}
	r.watched.Watch(slices.DeleteFunc(paths, func(path string) bool { return path == "" })...)
}

func (r *reloader) close() { signal.Stop(r.hangup) }

// run reloads until the context ends.
func (r *reloader) run(ctx context.Context) {
	if !untilStuck(ctx, r.loop) {
		r.log.Error("stopping does not wait for files of the configuration that cannot be read")
	}
}

// reloadGrace is how long a reload that is under way when the process is to end
// may take. The server has at least as long to stop.
const reloadGrace = time.Second

// untilStuck calls f, which returns when the context ends, and waits for it. If f
// has not returned reloadGrace later, as it reads from a file system that hangs,
// untilStuck leaves it behind and returns false.
func untilStuck(ctx context.Context, f func(context.Context)) bool {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	<-ctx.Done()
	select {
	case <-ended:
		return true
	case <-time.After(reloadGrace):
		return false
	}
}

func (r *reloader) loop(ctx context.Context) {
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
		r.reload(ctx)
	}
}

func (r *reloader) reload(ctx context.Context) {
	r.server.Reloading()
	next, err := r.next()
	if ctx.Err() != nil {
		return // the server is stopping
	}
	if err == nil {
		r.watch(next)
		err = r.server.Reload(next)
	}
	if err != nil {
		r.server.ReloadFailed(err)
		return
	}
	warn(r.log, next, r.config.Warnings)
	r.config = next
}

func (r *reloader) next() (*config.Config, error) {
	if err := r.files.regular(); err != nil {
		return nil, err
	}
	env, err := environment(r.files)
	if err != nil {
		return nil, err
	}
	return r.config.Reload(r.files.config, env)
}

// regular refuses what could keep a reload waiting for ever, such as the pipe that
// a shell makes of <(...), which is empty once the start has read it. It leaves
// files that are not there to those who read them.
func (f files) regular() error {
	for _, path := range []string{f.config, f.env} {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file, so it is read at the start only: restart, or start with a regular file", path)
		}
	}
	return nil
}
