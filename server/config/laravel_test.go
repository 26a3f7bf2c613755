package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLaravel(t *testing.T) {
	pusher := Env{"PUSHER_APP_ID": "1", "PUSHER_APP_KEY": "k", "PUSHER_APP_SECRET": "s"}
	with := func(more ...string) Env {
		env := make(Env)
		for name, value := range pusher {
			env[name] = value
		}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	for name, tt := range map[string]struct {
		env  Env
		want Laravel
	}{
		"nothing":   {nil, Laravel{}},
		"no host":   {pusher, Laravel{Variables: "PUSHER_APP_", Key: "k", Side: "PUSHER_"}},
		"one place": {with("PUSHER_HOST", "127.0.0.1", "PUSHER_PORT", "8080", "PUSHER_SCHEME", "http"), Laravel{Variables: "PUSHER_APP_", Key: "k", Side: "PUSHER_", PublishURL: "http://127.0.0.1:8080", PageURL: "http://127.0.0.1:8080"}},
		"defaults":  {with("PUSHER_HOST", "ws.example.com"), Laravel{Variables: "PUSHER_APP_", Key: "k", Side: "PUSHER_", PublishURL: "https://ws.example.com:443", PageURL: "https://ws.example.com:443"}},
		"pages elsewhere": {with("PUSHER_HOST", "::1", "PUSHER_PORT", "80", "PUSHER_SCHEME", "http", "VITE_PUSHER_HOST", "ws.example.com"),
			Laravel{Variables: "PUSHER_APP_", Key: "k", Side: "PUSHER_", PublishURL: "http://[::1]:80", PageURL: "https://ws.example.com:443"}},
		"ours, the same app": {with("BELFRY_APP_ID", "1", "BELFRY_APP_KEY", "k", "BELFRY_APP_SECRET", "s", "PUSHER_HOST", "h", "PUSHER_SCHEME", "http"),
			Laravel{Variables: "BELFRY_APP_", Key: "k", Side: "PUSHER_", PublishURL: "http://h:443", PageURL: "http://h:443"}},
		"ours, another app": {with("BELFRY_APP_KEY", "other", "PUSHER_HOST", "h"), Laravel{Variables: "BELFRY_APP_", Key: "other"}},
		"the connection's": {with("REVERB_APP_KEY", "r", "REVERB_HOST", "r", "BROADCAST_CONNECTION", "pusher", "PUSHER_HOST", "p"),
			Laravel{Connection: "pusher", Variables: "PUSHER_APP_", Key: "k", Side: "PUSHER_", PublishURL: "https://p:443", PageURL: "https://p:443"}},
		"laravel 10": {Env{"BROADCAST_DRIVER": "log"}, Laravel{Connection: "log", Driver: true}},
	} {
		if diff := cmp.Diff(tt.want, tt.env.Laravel()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
