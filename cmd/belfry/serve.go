package main

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"belfry/commands/manual"
	"belfry/server"
	"belfry/server/config"
	"belfry/server/logging"
)

// version and revision are set by the linker: see the target build of the Makefile.
var version, revision = "dev", ""

func build() server.Build {
	return server.Build{Version: version, Revision: revision, GoVersion: runtime.Version()}
}

func serveCommand(s streams) *manual.Command {
	c := command("serve", "[--config FILE] [--env-file FILE]", "run the server", `
Without a configuration and without app variables in the environment, serve makes one app
with random credentials and prints what to paste into Laravel. It reads the configuration
again on SIGHUP and when a file changes. SIGTERM drains and ends it.
`)
	f := fileFlags(c.Flags)
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		return serve(*f, s.out, s.err)
	}
	return c
}

// files are what a server is configured by.
type files struct{ config, env string }

func fileFlags(flags *flag.FlagSet) *files {
	f := new(files)
	configFlag(flags, &f.config)
	flags.StringVar(&f.env, "env-file", "", "Laravel .env `file` to read variables from; the environment wins")
	return f
}

// configFlag has the environment's file as its default, so that all commands of a container
// mean the file that its server reads.
func configFlag(flags *flag.FlagSet, file *string) {
	flags.StringVar(file, "config", os.Getenv("BELFRY_CONFIG"), "YAML configuration `file` of the server")
}

func load(f files) (*config.Config, error) {
	env, err := environment(f)
	if err != nil {
		return nil, err
	}
	return config.Load(f.config, env)
}

func environment(f files) (config.Env, error) {
	if f.env == "" {
		return config.ProcessEnv(), nil
	}
	return config.EnvFile(f.env, config.ProcessEnv())
}

func serve(f files, stdout, stderr io.Writer) error {
	reload := newReloader(f)
	defer reload.close()
	upgrades := onUpgrade()
	defer signal.Stop(upgrades)
	cfg, err := load(f)
	if err != nil {
		return err
	}
	reload.watch(cfg)
	if os.Getenv("GOMAXPROCS") == "" {
		// One more than there are cores, for the network poller: see server.New.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	floor := heapFloor()
	defer runtime.KeepAlive(floor)
	level := new(slog.LevelVar)
	level.Set(cfg.Log.Level)
	// Without this, a log into a pipe whose reader has gone ends the process.
	signal.Ignore(syscall.SIGPIPE)
	lines := logging.NewWriter(stderr)
	defer lines.Close()
	log := newLogger(cfg.Log.Format, level, lines)
	s, err := server.New(cfg, log, build())
	if err != nil {
		return err
	}
	// Until here a signal ends the process at once: if it is taking over from another one,
	// that goes on.
	ctx, stop := untilSignal()
	defer stop()
	s.LogLinesDropped(lines.Dropped)
	s.LogLevel(level)
	s.HandOverOn(upgrades)
	announce(log, cfg, s)
	warn(log, cfg, nil)
	if cfg.Generated {
		printPaste(stdout, cfg.Apps[0], s)
	} else if url := s.ConsoleURL(); url != "" {
		log.Info("console", "url", url)
	}
	reload.server, reload.config, reload.log = s, cfg, log
	var reloading sync.WaitGroup
	reloading.Go(func() { reload.run(ctx) })
	err = s.Run(ctx)
	stop()
	reloading.Wait()
	return err
}

// heapFloorBytes is added to what the collector takes for the size of the heap.
// A heap of 10 MB would be collected a dozen times a second under load; with this
// it may at least grow by as much before that happens. docs/performance.md has the
// figures.
const heapFloorBytes = 16 << 20

// heapFloor reserves addresses, which are never written to and so take no memory,
// unless GOGC says how the heap is to grow.
func heapFloor() []byte {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	return make([]byte, heapFloorBytes)
}

func newLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// announce says where clients and backends find the server.
func announce(log *slog.Logger, cfg *config.Config, s *server.Server) {
	ws, api, why := "ws", "http", "no server.tls is configured"
	if s.Secure() {
		ws, api, why = "wss", "https", "server.tls is configured"
	}
	address := s.Addr().String()
	attrs := []any{"address", address,
		"websocket", ws + "://" + address + cfg.Server.Path + "/app/{key}",
		"api", api + "://" + address + cfg.Server.Path + "/apps/{id}",
		"because", why, "apps", len(cfg.Apps)}
	if from := cfg.AppsFrom.Scheme(); from != "" {
		attrs = append(attrs, "apps_from", from)
	}
	log.Info("listening", append(attrs, "version", version)...)
	if a := s.RedirectAddr(); a != nil {
		log.Info("sending http to https", "address", a.String())
	}
	if a := s.MetricsAddr(); a != nil {
		log.Info("metrics", "address", a.String(), "path", cfg.Metrics.Path)
	}
}

// warn logs the warnings of a configuration that were not known before.
func warn(log *slog.Logger, cfg *config.Config, known []string) {
	for _, warning := range cfg.Warnings {
		if !slices.Contains(known, warning) {
			log.Warn("configuration: " + warning)
		}
	}
}

// printPaste is for those who start with nothing: an app for this run, as the
// lines that Laravel wants.
func printPaste(w io.Writer, app config.App, s *server.Server) {
	host, port, _ := net.SplitHostPort(s.Addr().String())
	if net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if s.Secure() {
		scheme = "https"
	}
	console := ""
	if url := s.ConsoleURL(); url != "" {
		console = "\nconsole " + url + "\n"
	}
	fmt.Fprintf(w, `
No app is configured, so this one was made for this run. Paste into Laravel's .env:

BROADCAST_CONNECTION=pusher
PUSHER_APP_ID=%[1]s
PUSHER_APP_KEY=%[2]s
PUSHER_APP_SECRET=%[3]s
PUSHER_HOST=%[4]s
PUSHER_PORT=%[5]s
PUSHER_SCHEME=%[6]s
PUSHER_APP_CLUSTER=mt1

VITE_PUSHER_APP_KEY="${PUSHER_APP_KEY}"
VITE_PUSHER_HOST="${PUSHER_HOST}"
VITE_PUSHER_PORT="${PUSHER_PORT}"
VITE_PUSHER_SCHEME="${PUSHER_SCHEME}"
VITE_PUSHER_APP_CLUSTER="${PUSHER_APP_CLUSTER}"

To keep it: set BELFRY_APP_ID, BELFRY_APP_KEY and BELFRY_APP_SECRET, start with
--env-file /path/to/laravel/.env, or write a configuration (config.example.yaml).
%[7]s
`, app.ID, app.Key, app.Secret, host, port, scheme, console)
}
