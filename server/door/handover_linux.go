//go:build !blocking

package door

import (
	"math"
	"net/netip"

	"golang.org/x/sys/unix"

	"belfry/server/capacity"
	"belfry/server/keepalive"
)

// Exported is what another process needs, beside the descriptor, to go on with a
// connection at the door. What the client has sent is still in the socket.
type Exported struct {
	Remote     netip.AddrPort `json:"remote"`
	Since      keepalive.Time `json:"since"`
	Authorized bool           `json:"authorized,omitzero"`
}

// Exports are connections that are being handed over.
type Exports struct {
	visitors []*visitor
}

// Export calls send with the connections at the door that have no request, until that
// fails. The others are closed behind the answer. The pollers and the watch are frozen.
func (d *Door) Export(send func(fd int, e Exported) error) (*Exports, error) {
	exports := new(Exports)
	var err error
	d.watch.All(func(w keepalive.Watched) {
		v, ok := w.(*visitor)
		if !ok || err != nil || !v.mayGo() {
			return
		}
		exports.visitors = append(exports.visitors, v)
		err = send(v.fd, Exported{v.remote, v.since.Load(), v.authorized.Load()})
	})
	return exports, err
}

// mayGo says whether the connection may be given away: it has no request, and another one
// may come. A request that is being served becomes the last one.
func (v *visitor) mayGo() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = v.busy
	return !v.gone && !v.busy && !v.over
}

// HandedOver forgets the connections, which are another process's.
func (e *Exports) HandedOver() {
	for _, v := range e.visitors {
		v.poller.Pause(v.fd)
		v.leave()
		unix.Close(v.fd)
		v.place.Leave()
	}
}

// Retire accepts whoever waits, closes the listener, and leaves all connections that have
// no request to net/http. The others are closed behind the answer. The pollers and the
// watch are frozen.
func (d *Door) Retire() {
	d.mu.Lock()
	d.accept(math.MaxInt)
	d.closeListener()
	d.mu.Unlock()
	var waiting []*visitor
	d.watch.All(func(w keepalive.Watched) {
		if v, ok := w.(*visitor); ok && v.mayGo() {
			waiting = append(waiting, v)
		}
	})
	for _, v := range waiting {
		v.handOver(nil)
	}
}

// Restore goes on with a connection of another process. The pollers are frozen until all
// are restored. With an error, the descriptor is the caller's.
func (d *Door) Restore(fd int, e Exported) error {
	v := &visitor{door: d, fd: fd, poller: d.Pollers.Pick(fd), remote: e.Remote}
	v.begin(e.Since, e.Authorized)
	if err := v.poller.Add(fd, v, false); err != nil {
		v.poller.Remove(fd)
		return err
	}
	v.place = d.capacity.Enter(capacity.Visitor, v)
	d.watch.Add(v, &v.slot, d.watch.Now())
	return nil
}
