//go:build !linux || blocking

package server

import (
	"context"
	"net/http"
	"os"
	"sync"

	"belfry/server/handover"
	"belfry/server/systemd"
)

// succession is the server's part in handovers, which need Linux.
type succession struct {
	changes handover.Changes
	signals <-chan os.Signal
}

// HandOverOn has each of the signals be refused, in the log.
func (s *Server) HandOverOn(signals <-chan os.Signal) { s.signals = signals }

func (s *Server) serveHandovers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.signals:
			s.log.Error("no handover: this process goes on", "error", handover.ErrUnsupported)
		}
	}
}

func (*Server) inherit() (sockets systemd.Sockets, outlive bool, err error) {
	sockets, err = systemd.Inherit()
	return sockets, true, err
}

func (*Server) succeed() error                                    { return nil }
func (*Server) succeeds() bool                                    { return false }
func (*Server) adopting() bool                                    { return false }
func (*Server) declineSuccession(error)                           {}
func (*Server) adopt() error                                      { return nil }
func (*Server) begin(*sync.WaitGroup)                             {}
func (*Server) endPassedOn(context.Context)                       {}
func (*Server) awaitSettled(context.Context)                      {}
func (*Server) passOn(http.ResponseWriter, *http.Request, []byte) {}
func (*Server) lastAnswer(http.ResponseWriter, *http.Request)     {}
func (*Server) hasMoved() bool                                    { return false }
func (*Server) leave()                                            {}
