// Package systemd is what the server and its service manager tell each other: by
// socket activation (sd_listen_fds(3)), so that the listening sockets outlive the
// process, and by notification (sd_notify(3)). Anything else that starts the process
// in that way will do.
package systemd

import (
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// Sockets are the listeners that the process was started with; nil for none.
type Sockets struct {
	// Metrics, Console and Redirect are those that FileDescriptorName= calls metrics, console
	// and redirect, and Main another one.
	Main, Metrics, Console, Redirect *net.TCPListener
}

// Inherit takes the listeners that are meant for this process, which works once. The
// error says which of them is none, or one too many.
func Inherit() (s Sockets, err error) {
	for _, file := range activation.Files(true) {
		slot := &s.Main
		switch file.Name() {
		case "metrics":
			slot = &s.Metrics
		case "console":
			slot = &s.Console
		case "redirect":
			slot = &s.Redirect
		}
		l, listenErr := net.FileListener(file)
		file.Close()
		tcp, ok := l.(*net.TCPListener)
		switch {
		case listenErr != nil:
			err = fmt.Errorf("inherited socket %s: %w", file.Name(), listenErr)
		case !ok:
			l.Close()
			err = fmt.Errorf("inherited socket %s is no TCP listener: use ListenStream= with a port", file.Name())
		case *slot != nil:
			l.Close()
			err = fmt.Errorf("inherited socket %s is one too many: there may be one, and one more each with FileDescriptorName=metrics, console and redirect", file.Name())
		default:
			*slot = tcp
		}
		if err != nil {
			s.Close()
			return Sockets{}, err
		}
	}
	return s, nil
}

// Close closes the listeners that there are; their sockets stay open at whoever has
// made them.
func (s Sockets) Close() {
	for _, l := range []*net.TCPListener{s.Main, s.Metrics, s.Console, s.Redirect} {
		if l != nil {
			l.Close()
		}
	}
}

// States of the process, to Notify of.
const (
	Ready    = daemon.SdNotifyReady
	Stopping = daemon.SdNotifyStopping
)

// Reloading is the state until the next Ready.
func Reloading() string {
	return strings.Join([]string{daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec()}, "\n")
}

// MainPID says which process the service's main one is from here on.
func MainPID(pid int) string { return fmt.Sprintf("MAINPID=%d", pid) }

// Status is a line for systemctl status.
func Status(format string, args ...any) string { return "STATUS=" + fmt.Sprintf(format, args...) }

// Notify tells the service manager of states, if it wants to know.
func Notify(log *slog.Logger, states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Debug("the service manager cannot be told", "error", err)
	}
}
