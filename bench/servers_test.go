//go:build linux

package main

import (
	"strings"
	"testing"
)

func TestCan(t *testing.T) {
	const plain, secure = "127.0.0.1:1", "127.0.0.1:2"
	target := func(plain, secure string) server {
		s, err := newRunning(&options{target: plain, targetTLS: secure})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, w := range workloads {
		tests := []struct {
			name   string
			server server
			want   bool
		}{
			{"bun", &program{noPresence: true}, !w.presence},
			{"belfry", &program{}, true},
			{"a target", target(plain, ""), !w.tls},
			{"a target over TLS", target("", secure), w.tls},
			{"a target with both", target(plain, secure), true},
		}
		for _, tt := range tests {
			if got := tt.server.can(w); got != tt.want {
				t.Errorf("%s can %s: %v", tt.name, w.name, got)
			}
			if r, ok := tt.server.(*running); ok && tt.want {
				i, err := r.start(w)
				if err != nil || (i.target.TLS != nil) != w.tls {
					t.Errorf("%s, %s: %+v, %v", tt.name, w.name, i, err)
				}
			}
		}
	}
}

func TestTargetIsRefused(t *testing.T) {
	for _, tt := range []struct{ plain, secure, want string }{
		{"", "", "-target"},
		{"192.0.2.1:80", "", "-target: 192.0.2.1:80"},
		{"127.0.0.1:80", "192.0.2.1:443", "-target-tls: 192.0.2.1:443"},
	} {
		if _, err := newRunning(&options{target: tt.plain, targetTLS: tt.secure}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q, %q: error %v, want %q", tt.plain, tt.secure, err, tt.want)
		}
	}
}
