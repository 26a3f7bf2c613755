package websocket

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// pollers share the connections by descriptor.
type pollers struct {
	all  []*poller
	done sync.WaitGroup
}

// start makes one poller per processor.
func (p *pollers) start() error {
	for range runtime.GOMAXPROCS(0) {
		one, err := newPoller()
		if err != nil {
			p.close()
			return err
		}
		p.all = append(p.all, one)
		p.done.Go(one.run)
	}
	return nil
}

func (p *pollers) pick(fd int) *poller { return p.all[fd%len(p.all)] }

// close ends the pollers, which have no connections any more.
func (p *pollers) close() {
	for _, one := range p.all {
		one.file.Close()
	}
	p.done.Wait()
}

// poller watches descriptors with an epoll of its own, which itself is watched
// by Go's poller: while nothing happens, no thread sits in epoll_wait.
type poller struct {
	file *os.File // the epoll descriptor
	raw  syscall.RawConn
	fd   int

	opened []byte // owned by run: what TLS records hold

	mu    sync.Mutex // guards conns
	conns map[int]*parked
}

func newPoller() (*poller, error) {
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
	return &poller{file: file, raw: raw, fd: fd, opened: make([]byte, inputBuffer), conns: make(map[int]*parked)}, nil
}

// add begins to watch a connection.
func (p *poller) add(c *parked, writable bool) error {
	p.mu.Lock()
	p.conns[c.fd] = c
	p.mu.Unlock()
	return p.control(unix.EPOLL_CTL_ADD, c.fd, writable)
}

// control says what to tell of a descriptor. Level-triggered: one goroutine
// reads, so nothing is told twice.
func (p *poller) control(op, fd int, writable bool) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if writable {
		e.Events |= unix.EPOLLOUT
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &e))
}

// remove forgets a connection, whose descriptor is about to be closed.
func (p *poller) remove(c *parked) {
	p.mu.Lock()
	delete(p.conns, c.fd)
	p.mu.Unlock()
}

// run serves until the epoll descriptor is closed.
func (p *poller) run() {
	events := make([]unix.EpollEvent, 256)
	input := make([]byte, inputBuffer)
	for {
		n := 0
		err := p.raw.Read(func(fd uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(fd), events, 0)
			if errors.Is(err, unix.EINTR) {
				n = 0
				return true
			}
			return n != 0 // an error as well: it ends the loop below
		})
		if err != nil || n < 0 {
			return
		}
		for _, e := range events[:n] {
			p.mu.Lock()
			c := p.conns[int(e.Fd)]
			p.mu.Unlock()
			if c == nil {
				continue
			}
			c.ready(e.Events, input)
		}
	}
}
