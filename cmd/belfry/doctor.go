package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"belfry/commands/doctor"
	"belfry/commands/manual"
	"belfry/commands/target"
	"belfry/server/config"
)

func doctorCommand(s streams) *manual.Command {
	c := command("doctor", "[FLAG…]", "test a set-up from outside and say what to change", `
It connects, subscribes, publishes and receives as pages and backends do, through every
proxy on the way, and prints a line for each check: ok, fail or skipped, what it found,
and, if it failed, what to change. The exit code is 0 if no check failed, and 1 if one
did. The checks are:

  `+strings.Join(doctor.Checks()[:8], " ")+`
  `+strings.Join(doctor.Checks()[8:], " ")+`

It subscribes to channels that
begin with private-belfry-doctor- and belfry-doctor-, and publishes one event.

  belfry doctor --env-file .env
  belfry doctor --config belfry.yaml --url https://ws.example.com --api-url http://127.0.0.1:8080
  belfry doctor --env-file .env --origin https://shop.example.com --idle 2m \
    --auth-url https://shop.example.com/broadcasting/auth --auth-channel private-orders.1
`+connectionText)
	f := connectionFlags(c.Flags)
	d := &doctor.Doctor{AuthHeader: make(http.Header)}
	json := c.Flags.Bool("json", false, "print a JSON object a line: check, result, found, change")
	c.Flags.StringVar(&f.APIURL, "api-url", "", "`URL` for the backend's requests, if it is another one")
	c.Flags.StringVar(&d.Origin, "origin", "", "`origin` of a page that is to connect, such as https://shop.example.com")
	c.Flags.DurationVar(&d.Idle, "idle", 0, "`time` for which a connection has to survive silence, such as 2m")
	c.Flags.StringVar(&d.AuthURL, "auth-url", "", "`URL` of the application's /broadcasting/auth")
	c.Flags.StringVar(&d.AuthChannel, "auth-channel", "private-belfry-doctor", "`channel` that the application is asked for")
	var headers list // not to be repeated: they may be secret
	c.Flags.Var(&headers, "auth-header", "`header` of that request, such as \"Cookie: …\"; several times for several")
	c.Flags.StringVar(&d.Webhook, "webhook", "", "`address` of this machine at which a webhook is received, such as 127.0.0.1:9000")
	c.Flags.DurationVar(&d.Within, "timeout", 10*time.Second, "`time` for each step")
	skip := c.Flags.String("skip", "", "`names` of checks to leave out, with commas between")
	c.Run = func(args []string) error {
		if err := none(args); err != nil {
			return err
		}
		if *skip != "" {
			d.Skip = strings.Split(*skip, ",")
		}
		for _, header := range headers {
			name, value, found := strings.Cut(header, ":")
			if !found {
				return &usageError{"--auth-header needs NAME: VALUE"}
			}
			d.AuthHeader.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		}
		for _, name := range d.Skip {
			if !slices.Contains(doctor.Checks(), name) {
				return &usageError{fmt.Sprintf("--skip: no check is called %q: there are %s", name, strings.Join(doctor.Checks(), ", "))}
			}
		}
		if d.Within <= 0 || d.Idle < 0 {
			return &usageError{"--timeout must be more than 0, and --idle not negative"}
		}
		t, err := target.Find(*f, config.ProcessEnv())
		if err == nil {
			err = t.Need(false)
		}
		if err != nil {
			return err
		}
		ctx, stop := untilSignal()
		defer stop()
		d.Target = t
		var broken error // output
		d.Report = func(r doctor.Result) {
			write := doctor.Print
			if *json {
				write = doctor.PrintJSON
			}
			if err := write(s.out, r); err != nil {
				broken = err
			}
		}
		if !d.Run(ctx) || ctx.Err() != nil {
			return errTold
		}
		return broken
	}
	return c
}

// list are the values of a flag that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}
