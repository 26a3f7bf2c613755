package handover

import "net"

// ListenLocal listens at an address that the system chooses, and that has no file. It
// accepts the connections of processes of this user and of root.
func ListenLocal() (net.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix"})
	if err != nil {
		return nil, err
	}
	return local{l}, nil
}

type local struct{ *net.UnixListener }

// Accept implements net.Listener.
func (l local) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if trusted(conn) {
			return conn, nil
		}
		conn.Close()
	}
}
