package load

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Target is the server and what a connection says before the first request.
type Target struct {
	Host     string
	Port     int
	Socket   string // path of a unix socket; overrides Host and Port
	User     string // for AUTH; empty = the default user
	Password string // for AUTH; empty = no AUTH
	DB       int    // for SELECT
	RESP3    bool   // HELLO 3
}

// String is the address as people write it.
func (t Target) String() string {
	if t.Socket != "" {
		return t.Socket
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(t.Port))
}

// setupTimeout bounds connecting and each of the commands before the first
// request.
const setupTimeout = 10 * time.Second

// resolve finds the socket address once for all connections.
func (t Target) resolve() (domain int, addr unix.Sockaddr, err error) {
	if t.Socket != "" {
		return unix.AF_UNIX, &unix.SockaddrUnix{Name: t.Socket}, nil
	}
	ip, err := net.ResolveIPAddr("ip", t.Host)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot find the host %q: %w", t.Host, err)
	}
	if four := ip.IP.To4(); four != nil {
		return unix.AF_INET, &unix.SockaddrInet4{Port: t.Port, Addr: [4]byte(four)}, nil
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: t.Port, Addr: [16]byte(ip.IP.To16())}, nil
}

// dial opens a connection, says what Target asks for, and returns the
// descriptor in non-blocking mode.
func (t Target) dial(domain int, addr unix.Sockaddr) (fd int, err error) {
	fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("cannot open a socket: %w%s", err, descriptorHint(err))
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	// The send timeout bounds connect as well (socket(7)).
	limit := unix.NsecToTimeval(int64(setupTimeout))
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return -1, err
	}
	if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return -1, err
	}
	for {
		if err = unix.Connect(fd, addr); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return -1, fmt.Errorf("cannot connect to %s: %w", t, err)
	}
	if domain != unix.AF_UNIX {
		if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return -1, err
		}
	}
	if err = t.greet(fd); err != nil {
		return -1, err
	}
	if err = unix.SetNonblock(fd, true); err != nil {
		return -1, err
	}
	return fd, nil
}

// greet sends AUTH, HELLO and SELECT as far as the target asks for them. Each
// must succeed.
func (t Target) greet(fd int) error {
	var commands [][]string
	if t.Password != "" {
		auth := []string{"AUTH", t.Password}
		if t.User != "" {
			auth = []string{"AUTH", t.User, t.Password}
		}
		commands = append(commands, auth)
	}
	if t.RESP3 {
		commands = append(commands, []string{"HELLO", "3"})
	}
	if t.DB != 0 {
		commands = append(commands, []string{"SELECT", strconv.Itoa(t.DB)})
	}
	for _, args := range commands {
		b, err := newBatch(Command{Args: args}, 1, -1, "", 0)
		if err != nil {
			return err
		}
		if _, err := unix.Write(fd, b.bytes); err != nil {
			return fmt.Errorf("cannot send %s to %s: %w", args[0], t, err)
		}
		var r replyCounter
		var in [4096]byte
		for replies := 0; replies == 0; {
			n, err := unix.Read(fd, in[:])
			if err == unix.EINTR {
				continue
			}
			if err == nil && n == 0 {
				err = errors.New("the server closed the connection")
			}
			if err != nil {
				return fmt.Errorf("no answer to %s from %s: %w", args[0], t, err)
			}
			if replies, err = r.feed(in[:n]); err != nil {
				return fmt.Errorf("the answer to %s from %s is not a reply: %w", args[0], t, err)
			}
		}
		if r.errors > 0 {
			return fmt.Errorf("%s was refused by %s: %s", args[0], t, r.errorText())
		}
	}
	return nil
}

// descriptorHint says what to do when descriptors ran out.
func descriptorHint(err error) string {
	if errors.Is(err, unix.EMFILE) {
		return " (raise the limit with ulimit -n, or use fewer clients)"
	}
	return ""
}

// OpenIdle opens connections that send nothing, and returns what closes them.
func OpenIdle(t Target, clients int) (closeAll func(), err error) {
	var open []int
	closeAll = func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}
	domain, addr, err := t.resolve()
	if err != nil {
		return nil, err
	}
	for range clients {
		fd, err := t.dial(domain, addr)
		if err != nil {
			closeAll()
			return nil, err
		}
		open = append(open, fd)
	}
	return closeAll, nil
}
