package config

import (
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

const (
	durationForm = "a duration such as 30s or 2m"
	prefixForm   = "an IP address or a CIDR prefix such as 10.0.0.0/8"
)

// duration reads s, or tells why not and returns d.
func (l *loader) duration(path, s string, d time.Duration) time.Duration {
	v, err := time.ParseDuration(s)
	if err == nil {
		return v
	}
	switch _, numErr := strconv.ParseFloat(s, 64); {
	case s == "":
		l.refuse(path, "is empty: give "+durationForm)
	case numErr == nil:
		l.refuse(path, "has no unit: give "+durationForm)
	default:
		l.refuse(path, "is not a duration: give one such as 30s or 2m")
	}
	return d
}

// level reads s, or tells why not and returns v.
func (l *loader) level(path, s string, v slog.Level) slog.Level {
	names := []string{"debug", "info", "warn", "error"}
	if problem := choiceProblem(s, names...); problem != "" {
		l.refuse(path, problem)
		return v
	}
	return []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}[slices.Index(names, s)]
}

// prefix reads s, a bare address as a prefix of one address. IPv4-mapped ones
// are refused: they would never match the IPv4 address of a peer.
func (l *loader) prefix(path, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if addr, addrErr := netip.ParseAddr(s); addrErr == nil && addr.Zone() == "" {
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case err != nil:
		l.refuse(path, "is not an address: give "+prefixForm)
	case p.Addr().Is4In6():
		l.refuse(path, "is an IPv4 address in IPv6 form: give "+prefixForm)
	}
	return p.Masked()
}
