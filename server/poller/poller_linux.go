package poller

import (
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pollers share descriptors among them.
type Pollers struct {
	all  []*Poller
	done sync.WaitGroup
}

// Start makes a poller for each processor but the one that package main adds for
// Go's own poller: more that are busy would have the system switch between them.
// The error is an os.SyscallError, such as that the process may have no more
// descriptors.
func Start() (*Pollers, error) {
	p := new(Pollers)
	for range max(1, runtime.GOMAXPROCS(0)-1) {
		one, err := newPoller()
		if err != nil {
			p.Close()
			return nil, err
		}
		p.all = append(p.all, one)
		p.done.Go(one.run)
	}
	return p, nil
}

// Pick returns the poller of a descriptor.
func (p *Pollers) Pick(fd int) *Poller { return p.all[fd%len(p.all)] }

// Close ends the pollers, which have no descriptors any more.
func (p *Pollers) Close() {
	for _, one := range p.all {
		one.file.Close()
	}
	p.done.Wait()
}

// Freeze has no handler called until Thaw. It waits for those that are being called.
// Descriptors may be added and removed meanwhile.
func (p *Pollers) Freeze() {
	for _, one := range p.all {
		one.serving.Lock()
	}
}

// Thaw ends Freeze.
func (p *Pollers) Thaw() {
	for _, one := range p.all {
		one.serving.Unlock()
	}
}

// Handler is what a descriptor belongs to.
type Handler interface {
	// Ready is called by the poller's goroutine with what epoll tells of the
	// descriptor: that it is readable or has ended, unless only writable is set.
	// It must not block.
	Ready(events Events)
}

// Events are what epoll tells of a descriptor.
type Events uint32

// Writable says that the socket takes bytes again.
func (e Events) Writable() bool { return e&unix.EPOLLOUT != 0 }

// Readable says that there are bytes, or that the stream has ended.
func (e Events) Readable() bool { return e&^unix.EPOLLOUT != 0 }

// Poller watches descriptors with an epoll, which itself is watched by Go's
// poller: while nothing happens, no thread sits in epoll_wait. Its methods may be
// called concurrently, also within Ready; calls about the same descriptor must not
// overlap.
type Poller struct {
	// Input and Opened are buffers for those who read within Ready: for what comes,
	// and for what TLS records hold.
	Input, Opened []byte

	file *os.File // the epoll descriptor
	raw  syscall.RawConn
	fd   int

	serving sync.Mutex // held from when epoll tells of events until handlers were called

	mu       sync.Mutex // guards handlers
	handlers map[int]Handler
}

func newPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	// Go watches only what is non-blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Poller{
		Input: make([]byte, InputBytes), Opened: make([]byte, InputBytes),
		file: file, raw: raw, fd: fd, handlers: make(map[int]Handler),
	}, nil
}

// Add begins to watch a descriptor: whether it is readable, and whether it is
// writable if that is asked. The error is an os.SyscallError of epoll_ctl; Remove
// is due all the same.
func (p *Poller) Add(fd int, h Handler, writable bool) error {
	p.Replace(fd, h)
	return p.control(unix.EPOLL_CTL_ADD, fd, writable)
}

// Replace changes whose a watched descriptor is.
func (p *Poller) Replace(fd int, h Handler) {
	p.mu.Lock()
	p.handlers[fd] = h
	p.mu.Unlock()
}

// Watch changes whether h is told that a descriptor, which was added, is writable.
// The error is an os.SyscallError of epoll_ctl.
func (p *Poller) Watch(fd int, writable bool) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, writable)
}

// control says what to tell of a descriptor. Level-triggered: one goroutine
// reads, so nothing is told twice.
func (p *Poller) control(op, fd int, writable bool) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if writable {
		e.Events |= unix.EPOLLOUT
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &e))
}

// Remove forgets a descriptor that is going to be closed, which ends watching it.
func (p *Poller) Remove(fd int) {
	p.mu.Lock()
	delete(p.handlers, fd)
	p.mu.Unlock()
}

// Pause ends watching a descriptor that stays open, until Add.
func (p *Poller) Pause(fd int) {
	p.Remove(fd)
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) // an error: it was not watched
}

// run serves until the epoll descriptor is closed.
func (p *Poller) run() {
	events := make([]unix.EpollEvent, 256)
	for p.serve(events) {
	}
}

// serve calls the handlers of what epoll tells of at one time. It reports whether there
// may be more.
func (p *Poller) serve(events []unix.EpollEvent) (more bool) {
	var n int
	var failed error
	err := p.raw.Read(func(fd uintptr) bool {
		p.serving.Lock()
		n, failed = epollWait(int(fd), events)
		if n > 0 || failed != nil {
			return true
		}
		p.serving.Unlock()
		return false
	})
	if err != nil {
		return false
	}
	defer p.serving.Unlock()
	if failed != nil {
		return false
	}
	for _, e := range events[:n] {
		p.mu.Lock()
		h := p.handlers[int(e.Fd)]
		p.mu.Unlock()
		if h != nil {
			h.Ready(Events(e.Events))
		}
	}
	return true
}
