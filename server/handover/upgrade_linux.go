package handover

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An operator asks for a handover by connecting to a socket that is named by the
// process. The answer is one line: what has failed, or "ok" and the new process's id.

// address is an abstract one, which leaves no file behind (unix(7)). Anybody may
// connect to it, and to any name listen: both sides look whose the other one is.
func address(pid int) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: "@belfry/upgrade/" + strconv.Itoa(pid)}
}

// Requests are those for a handover that other processes make.
type Requests struct {
	listener *net.UnixListener
	closed   chan struct{}
	done     sync.WaitGroup

	// C has each request, one after the other; Answer is due.
	C chan *Request
}

// Request is for a handover.
type Request struct {
	conn     *net.UnixConn
	answered chan struct{}
}

// answerTimeout is how long one side waits for what the other can say at once.
const answerTimeout = 5 * time.Second

// Listen takes requests until Close. The error is that somebody else has the name.
func Listen() (*Requests, error) {
	l, err := net.ListenUnix("unix", address(os.Getpid()))
	if err != nil {
		return nil, err
	}
	r := &Requests{listener: l, closed: make(chan struct{}), C: make(chan *Request)}
	r.done.Go(r.accept)
	return r, nil
}

// Close ends taking requests. Each one that was taken has been answered.
func (r *Requests) Close() {
	close(r.closed)
	r.listener.Close()
	r.done.Wait()
}

func (r *Requests) accept() {
	for {
		conn, err := r.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // for want of a descriptor, mostly
			time.Sleep(time.Second)
			continue
		}
		if !trusted(conn) {
			conn.Close()
			continue
		}
		request := &Request{conn, make(chan struct{})}
		select {
		case r.C <- request:
			select {
			case <-request.answered:
			case <-r.closed:
			}
		case <-r.closed:
			conn.Close()
			return
		}
	}
}

// Answer says what came of a request: a new process, or an error.
func (r *Request) Answer(pid int, err error) {
	defer close(r.answered)
	defer r.conn.Close()
	line := fmt.Sprintln("ok", pid)
	if err != nil {
		line = strings.ReplaceAll(err.Error(), "\n", "; ") + "\n"
	}
	if r.conn.SetDeadline(time.Now().Add(answerTimeout)) == nil {
		_, _ = io.WriteString(r.conn, line) // an error means that nobody waits for it
	}
}

// trusted says whether the peer is of this user, or root's.
func trusted(conn *net.UnixConn) bool {
	owner, err := peer(conn)
	return err == nil && (owner.Uid == 0 || int(owner.Uid) == os.Geteuid())
}

func peer(conn *net.UnixConn) (owner *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if ctl := raw.Control(func(fd uintptr) {
		owner, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctl != nil {
		return nil, ctl
	}
	return owner, err
}

// Upgrade has a process hand over to a new one, and returns the new one's id. It waits
// until the context ends.
func Upgrade(ctx context.Context, pid int) (successor int, err error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "unix", address(pid).Name)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0, fmt.Errorf("process %d takes no requests: it does not run, or is no belfry serve that may hand over", pid)
	}
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	owner, err := peer(nc.(*net.UnixConn))
	if err != nil {
		return 0, err
	}
	if int(owner.Pid) != pid {
		return 0, fmt.Errorf("process %d answers in the name of process %d", owner.Pid, pid)
	}
	line, err := bufio.NewReader(io.LimitReader(nc, maxAnswer)).ReadString('\n')
	if ctx.Err() != nil {
		return 0, fmt.Errorf("process %d has not answered in time: its log says what came of it", pid)
	}
	if err != nil {
		return 0, fmt.Errorf("process %d has ended, or does not take requests of this user", pid)
	}
	if number, ok := strings.CutPrefix(line, "ok "); ok {
		return strconv.Atoi(strings.TrimSpace(number))
	}
	return 0, errors.New(strings.TrimSpace(line))
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 10
