package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"belfry/commands"
	"belfry/commands/client"
	"belfry/commands/manual"
	"belfry/commands/target"
	"belfry/protocol"
	"belfry/server/config"
)

// connectionText explains the flags of [connectionFlags].
const connectionText = `
--url, --app-id, --key and --secret say which server and which app are meant. What they
leave open comes from --config or --env-file, and otherwise from the variables that serve
reads. Other users of the machine can see a secret on the command line: set
BELFRY_APP_SECRET instead. With --config, the command connects to server.listen and does
not verify the certificate there. With --env-file, it sends requests to PUSHER_HOST or
REVERB_HOST, as Laravel does, and connects WebSockets to VITE_PUSHER_HOST or
VITE_REVERB_HOST, as pages do.`

// connectionFlags are those by which commands find a server and an app.
func connectionFlags(flags *flag.FlagSet) *target.Flags {
	f := new(target.Flags)
	configFlag(flags, &f.ConfigFile)
	flags.StringVar(&f.EnvFile, "env-file", "", "Laravel .env `file`; the environment wins")
	flags.StringVar(&f.App, "app", "", "`id` of the app, if the configuration has several")
	flags.StringVar(&f.URL, "url", "", "`URL` of a server, with its path prefix, such as https://ws.example.com")
	flags.StringVar(&f.AppID, "app-id", "", "`id` of the app")
	flags.StringVar(&f.Key, "key", "", "`key` of the app")
	flags.StringVar(&f.Secret, "secret", "", "`secret` of the app; other users can see it: set BELFRY_APP_SECRET instead")
	return f
}

// find finds the app, and its secret if signing needs one.
func find(f *target.Flags, signing bool) (*target.Target, error) {
	t, err := target.Find(*f, config.ProcessEnv())
	if err != nil {
		return nil, err
	}
	return t, t.Need(signing)
}

func listenCommand(s streams) *manual.Command {
	c := command("listen", "[FLAG…] CHANNEL…", "print the events of channels as they come", `
It prints a line for each event: time, channel, event and data, and the user id of who
sent a client event on a presence channel. It signs private and presence channels with
the app's secret. It connects again when the connection is lost, and asks for the events
that it has missed where the server keeps a history. Ctrl-C ends it.

  belfry listen news private-orders.42
  belfry listen --user 7 presence-room
  belfry listen --json --count 1 --timeout 10s news
`+connectionText)
	f := connectionFlags(c.Flags)
	l := &commands.Listen{Out: s.out, Err: s.err}
	c.Flags.StringVar(&l.User, "user", "", "user `id` of the member on presence channels")
	c.Flags.BoolVar(&l.JSON, "json", false, "print a JSON object a line: channel, event, data, user_id, serial, received")
	c.Flags.IntVar(&l.Count, "count", 0, "end after `N` events, those of the protocol itself not counted")
	c.Flags.DurationVar(&l.Timeout, "timeout", 0, "end after this `time`, such as 10s; an error if --count events have not come")
	c.Run = func(args []string) error {
		if len(args) == 0 {
			return &usageError{"listen needs a channel"}
		}
		if l.Count < 0 || l.Timeout < 0 {
			return &usageError{"--count and --timeout must not be negative"}
		}
		signing := false
		for _, channel := range args {
			kind := protocol.KindOf(channel)
			signing = signing || kind.Authorized() || kind == protocol.User
			if kind.IsPresence() && l.User == "" {
				return &usageError{fmt.Sprintf("%s is a presence channel: give --user ID", channel)}
			}
		}
		t, err := find(f, signing)
		if err != nil {
			return err
		}
		ctx, stop := untilSignal()
		defer stop()
		l.Client, l.Channels = &t.Client, args
		return l.Run(ctx)
	}
	return c
}

// requestTimeout is how long a command waits for the answer to a request.
const requestTimeout = 30 * time.Second

func triggerCommand(s streams) *manual.Command {
	c := command("trigger", "[FLAG…] CHANNEL EVENT DATA", "publish an event", `
DATA is what subscribers get: JSON, or any text. A single dash stands for what standard
input has. With --user, the event goes to a user who has signed in, and there is no
CHANNEL.

  belfry trigger news posted '{"id": 1}'
  belfry trigger news posted - < event.json
  belfry trigger --user 7 greeting '{"text": "hello"}'
`+connectionText)
	f := connectionFlags(c.Flags)
	t := &commands.Trigger{In: s.in, Out: s.out}
	user := c.Flags.String("user", "", "user `id` of who gets the event, instead of CHANNEL")
	c.Flags.StringVar(&t.SocketID, "socket-id", "", "`id` of a connection that does not get the event")
	c.Flags.BoolVar(&t.JSON, "json", false, "print the server's answer")
	c.Run = func(args []string) error {
		if *user != "" {
			args = append([]string{protocol.PrefixUser + *user}, args...)
		}
		if len(args) != 3 {
			return &usageError{"trigger needs CHANNEL, EVENT and DATA, or --user, EVENT and DATA"}
		}
		t.Channel, t.Event, t.Data = args[0], args[1], args[2]
		return ask(f, &t.Client, t.Run)
	}
	return c
}

func channelsCommand(s streams) *manual.Command {
	c := command("channels", "[FLAG…]", "list the channels that have subscribers", connectionText)
	f := connectionFlags(c.Flags)
	l := &commands.Channels{Out: s.out}
	c.Flags.StringVar(&l.Prefix, "prefix", "", "`text` that the names begin with")
	c.Flags.BoolVar(&l.Info, "info", false, "say how many subscriptions and users each has")
	c.Flags.BoolVar(&l.JSON, "json", false, "print a JSON object a line: channel, subscription_count, user_count")
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		return ask(f, &l.Client, l.Run)
	}
	return c
}

func connectionsCommand(s streams) *manual.Command {
	c := command("connections", "[FLAG…]", "say how many connections the app has", `
Belfry and Reverb answer it; hosted Pusher and Soketi do not.
`+connectionText)
	f := connectionFlags(c.Flags)
	l := &commands.Connections{Out: s.out}
	c.Flags.BoolVar(&l.JSON, "json", false, "print the server's answer")
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		return ask(f, &l.Client, l.Run)
	}
	return c
}

func healthCommand(s streams) *manual.Command {
	c := command("health", "[FLAG…]", "ask whether a server is ready, for containers", `
It prints one line and ends with 0 if the server answers 200, else with 1. It needs no
app. The server is the one that --config, --env-file or the environment starts: it is
asked at the address that it listens on, and its certificate is not verified. With --url,
health reads no configuration, so that a mistake in one that is not in force yet does not
count.

  belfry health
  belfry health --config /etc/belfry/config.yaml
  belfry health --url http://127.0.0.1:8080
`)
	var f target.Flags
	h := &commands.Health{Out: s.out}
	configFlag(c.Flags, &f.ConfigFile)
	c.Flags.StringVar(&f.EnvFile, "env-file", "", "Laravel .env `file` that the server reads")
	c.Flags.StringVar(&f.URL, "url", "", "`URL` of a server, with its path prefix")
	c.Flags.BoolVar(&h.Up, "up", false, "ask only whether it lives (/up), as Reverb can be asked")
	c.Flags.BoolVar(&h.JSON, "json", false, "print the server's answer")
	c.Flags.DurationVar(&h.Within, "timeout", 5*time.Second, "`time` for the answer")
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		if h.Within <= 0 {
			return &usageError{"--timeout must be more than 0"}
		}
		t, err := target.Server(f, config.ProcessEnv())
		if err != nil {
			return err
		}
		h.Client = &t.Client
		return request(h.Run)
	}
	return c
}

// ask finds the app, with its secret, and runs what sends requests to it.
func ask(f *target.Flags, to **client.Client, run func(context.Context) error) error {
	t, err := find(f, true)
	if err != nil {
		return err
	}
	*to = &t.Client
	return request(run)
}

// request runs what sends requests, until a signal or requestTimeout.
func request(run func(context.Context) error) error {
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("no answer within %v", requestTimeout))
	defer cancel()
	return run(ctx)
}
