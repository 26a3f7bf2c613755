// Command chat is a support chat: a visitor and a support agent in two browser
// windows, with Laravel Echo on the page and Belfry between them. It stands in
// for a Laravel application: it stores messages, broadcasts them through the
// Pusher HTTP API, and authorises the private channel.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"belfry/auth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	listen := flags.String("listen", env("CHAT_LISTEN", "127.0.0.1:8000"), "`address` to serve the page on; port 0 picks a free one")
	belfry := flags.String("belfry", env("BELFRY_URL", "http://127.0.0.1:8080"), "`URL` of Belfry, for this program and for browsers")
	appID := flags.String("app-id", env("PUSHER_APP_ID", "100001"), "application `id`")
	key := flags.String("app-key", env("PUSHER_APP_KEY", "app-key"), "application `key`")
	secret := flags.String("app-secret", env("PUSHER_APP_SECRET", "app-secret"), "application `secret`")
	dist := flags.String("dist", env("CHAT_DIST", filepath.Join("examples", "chat", "dist")), "`directory` of the built page")
	if err := flags.Parse(args); err != nil {
		return err
	}
	base, err := url.Parse(*belfry)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return fmt.Errorf("--belfry %q is not an http or https URL", *belfry)
	}
	if _, err := os.Stat(filepath.Join(*dist, "index.html")); err != nil {
		return fmt.Errorf("the page is not built: no index.html in %s; run `npm ci && npm run build` in examples/chat, or say where it is with --dist", *dist)
	}

	app := &application{
		belfry: newPublisher(base, *appID, auth.Credentials{Key: *key, Secret: *secret}),
		// Ids that go on from those of an earlier run: a page that is still open
		// takes a message with an id it has shown for the same message.
		messages: &conversation{lastID: time.Now().UnixMilli()},
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           app.routes(os.DirFS(*dist)),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
	page := "http://" + listener.Addr().String()
	fmt.Printf("chat: %s\n  visitor %s/?role=visitor\n  support %s/?role=support\n", page, page, page)

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// The signal's context is over; the requests under way get their own time.
	drain, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(drain)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
