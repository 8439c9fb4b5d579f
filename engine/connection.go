package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/internal/ae"
)

// connection is a client's socket with its handlers, after Redis's connection.c.
type connection struct {
	fd           int
	client       *client
	readHandler  func(*connection)
	writeHandler func(*connection)
}

// connSocketEventHandler serves an event of a client's socket: first the read
// handler, then the write handler. A handler may close the connection.
//
//go:noinline
func connSocketEventHandler(el *ae.EventLoop, fd int, data any, mask ae.Mask) {
	conn := data.(*connection)
	if mask&ae.Readable != 0 && conn.readHandler != nil {
		if !callHandler(conn, conn.readHandler) {
			return
		}
	}
	if mask&ae.Writable != 0 && conn.writeHandler != nil {
		callHandler(conn, conn.writeHandler)
	}
}

// callHandler calls a handler and reports whether the connection still stands.
//
//go:noinline
func callHandler(conn *connection, handler func(*connection)) bool {
	handler(conn)
	return conn.fd >= 0
}

func (conn *connection) setReadHandler(el *ae.EventLoop, handler func(*connection)) error {
	conn.readHandler = handler
	return el.CreateFileEvent(conn.fd, ae.Readable, connSocketEventHandler, conn)
}

// setWriteHandler installs a write handler, or with nil takes it away.
func (conn *connection) setWriteHandler(el *ae.EventLoop, handler func(*connection)) error {
	conn.writeHandler = handler
	if handler == nil {
		el.DeleteFileEvent(conn.fd, ae.Writable)
		return nil
	}
	return el.CreateFileEvent(conn.fd, ae.Writable, connSocketEventHandler, conn)
}

func (conn *connection) close(el *ae.EventLoop) {
	if conn.fd < 0 {
		return
	}
	el.DeleteFileEvent(conn.fd, ae.Readable|ae.Writable)
	unix.Close(conn.fd)
	conn.fd = -1
}

// readSocket and writeSocket are read(2) and write(2) on a non-blocking
// descriptor. They do not tell Go's scheduler, which would cost more than an
// unpipelined command does, because they never wait.
func readSocket(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

func writeSocket(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

// listener is a listening socket.
type listener struct {
	fd   int
	addr string // "ip:port", or the path of a unix socket
	unix bool
}

func (l *listener) close() {
	unix.Close(l.fd)
	if l.unix {
		os.Remove(l.addr)
	}
}

// listen opens the sockets that the configuration asks for and watches them.
func (s *Server) listen() error {
	cfg := s.config
	if cfg.Port == 0 && !cfg.AnyPort && cfg.UnixSocket == "" {
		return errors.New("nothing to listen on: set --port or --unixsocket")
	}
	if err := s.listenTCP(); err != nil {
		return err
	}
	if cfg.UnixSocket == "" {
		return nil
	}
	l, err := listenUnix(cfg.UnixSocket, cfg.UnixSocketPerm, cfg.TCPBacklog)
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %v; choose another with --unixsocket", cfg.UnixSocket, describe(err))
	}
	return s.watch(l)
}

// watch accepts clients from a listener from now on.
func (s *Server) watch(l *listener) error {
	handler := acceptTcpHandler
	if l.unix {
		handler = acceptUnixHandler
	}
	if err := s.el.CreateFileEvent(l.fd, ae.Readable, handler, s); err != nil {
		l.close()
		return err
	}
	s.listeners = append(s.listeners, l)
	return nil
}

// listenTCP opens a socket for each of the addresses of bind.
func (s *Server) listenTCP() error {
	cfg := s.config
	s.tcp.bind, s.tcp.port = slices.Clone(cfg.Bind), cfg.Port
	if cfg.Port == 0 && !cfg.AnyPort || len(cfg.Bind) == 0 {
		return nil
	}
	port, opened := cfg.Port, 0
	for _, bind := range cfg.Bind {
		// A leading minus makes an address optional: the machine may not have it.
		address, optional := strings.CutPrefix(bind, "-")
		l, err := listenTCP(address, port, cfg.TCPBacklog)
		if err == nil {
			err = s.watch(l)
		}
		if err != nil {
			s.log.warning("Warning: Could not create server TCP listening socket %s:%d: %s", address, port, cError(err))
			if errors.Is(err, unix.EADDRNOTAVAIL) && optional || errors.Is(err, unix.EAFNOSUPPORT) ||
				errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) || errors.Is(err, unix.EPFNOSUPPORT) {
				continue
			}
			s.closeTCP()
			return fmt.Errorf("cannot listen on %s port %d: %v; choose another with --port or --bind", address, port, describe(err))
		}
		opened++
		// With port 0 the kernel has chosen one; all addresses share it.
		if port == 0 {
			port = int(netip.MustParseAddrPort(l.addr).Port())
			cfg.Port, s.tcp.port = port, port
		}
	}
	if opened == 0 {
		return errors.New("no address given with --bind exists on this machine")
	}
	return nil
}

func (s *Server) closeTCP() {
	s.listeners = slices.DeleteFunc(s.listeners, func(l *listener) bool {
		if l.unix {
			return false
		}
		s.el.DeleteFileEvent(l.fd, ae.Readable)
		l.close()
		return true
	})
}

// relisten makes a change of bind or port take effect, and returns what is
// wrong with it, or "".
func (s *Server) relisten() string {
	cfg := s.config
	portChanged := cfg.Port != s.tcp.port
	if !portChanged && slices.Equal(cfg.Bind, s.tcp.bind) {
		return ""
	}
	s.closeTCP()
	if err := s.listenTCP(); err != nil {
		if portChanged {
			return "Unable to listen on this port. Check server logs."
		}
		return "Failed to bind to specified addresses."
	}
	return ""
}

func describe(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// Addr returns the first address that the server listened on when New returned:
// "ip:port", or the path of a unix socket. Any goroutine may call it.
func (s *Server) Addr() string { return s.firstAddr }

func listenTCP(bind string, port, backlog int) (*listener, error) {
	family := unix.AF_INET
	var addr netip.Addr
	switch bind {
	case "*", "":
		addr = netip.IPv4Unspecified()
	case "::*":
		addr = netip.IPv6Unspecified()
	default:
		var err error
		if addr, err = netip.ParseAddr(bind); err != nil {
			return nil, fmt.Errorf("%q is not an IP address", bind)
		}
	}
	if addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if family == unix.AF_INET6 {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	err = unix.Bind(fd, sockaddr(netip.AddrPortFrom(addr, uint16(port))))
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	local, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &listener{fd: fd, addr: sockaddrString(local)}, nil
}

func listenUnix(path string, perm os.FileMode, backlog int) (*listener, error) {
	os.Remove(path) // a socket that an earlier server left behind
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	if err == nil && perm != 0 {
		err = os.Chmod(path, perm)
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &listener{fd: fd, addr: path, unix: true}, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// sockaddrString writes an address as Redis does: "127.0.0.1:6379",
// "[::1]:6379", or for a unix socket its path.
func sockaddrString(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrUnix:
		return a.Name
	}
	return "?:0"
}

// maxAcceptsPerCall bounds the connections taken in one turn, so that a flood
// of them does not hold up the clients that are there (MAX_ACCEPTS_PER_CALL).
const maxAcceptsPerCall = 1000

//go:noinline
func acceptTcpHandler(_ *ae.EventLoop, fd int, data any, _ ae.Mask) {
	acceptAll(data.(*Server), fd, false)
}

//go:noinline
func acceptUnixHandler(_ *ae.EventLoop, fd int, data any, _ ae.Mask) {
	acceptAll(data.(*Server), fd, true)
}

func acceptAll(s *Server, listenFd int, isUnix bool) {
	for range maxAcceptsPerCall {
		fd, peer, err := unix.Accept4(listenFd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			if err != unix.EAGAIN && err != unix.EINTR && err != unix.ECONNABORTED {
				s.log.warning("Accepting client connection: %s", describe(err))
			}
			return
		}
		if !isUnix {
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
			if s.config.TCPKeepAlive > 0 {
				keepAlive(fd, s.config.TCPKeepAlive)
			}
		}
		acceptCommonHandler(s, fd, peer, isUnix)
	}
}

// keepAlive makes the kernel ask a silent peer after the given seconds, and
// give up after three unanswered questions at a third of that.
func keepAlive(fd, seconds int) {
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, max(1, seconds/3))
	unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3)
}

// acceptCommonHandler makes a client of an accepted socket, or refuses it.
//
//go:noinline
func acceptCommonHandler(s *Server, fd int, peer unix.Sockaddr, isUnix bool) {
	refuse := func(text string) {
		writeSocket(fd, []byte(text))
		unix.Close(fd)
		s.stat.rejectedConnections++
	}
	if len(s.clients.list) >= s.config.MaxClients {
		refuse("-ERR max number of clients reached\r\n")
		return
	}
	if s.config.ProtectedMode && s.config.RequirePass == "" && !isUnix && !isLoopback(peer) {
		refuse(protectedModeText)
		return
	}
	if _, err := createClient(s, fd, peer, isUnix); err != nil {
		s.log.warning("Error registering fd event for the new client: %s (fd=%d)", err, fd)
		unix.Close(fd)
		return
	}
	s.stat.connections++
}

func isLoopback(sa unix.Sockaddr) bool {
	a, err := netip.ParseAddrPort(sockaddrString(sa))
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// protectedModeText is what clientAcceptHandler tells a stranger.
const protectedModeText = "-DENIED Redis is running in protected mode because protected " +
	"mode is enabled and no password is set for the default user. " +
	"In this mode connections are only accepted from the loopback interface. " +
	"If you want to connect from external computers to Redis you " +
	"may adopt one of the following solutions: " +
	"1) Just disable protected mode sending the command " +
	"'CONFIG SET protected-mode no' from the loopback interface " +
	"by connecting to Redis from the same host the server is " +
	"running, however MAKE SURE Redis is not publicly accessible " +
	"from internet if you do so. Use CONFIG REWRITE to make this " +
	"change permanent. " +
	"2) Alternatively you can just disable the protected mode by " +
	"editing the Redis configuration file, and setting the protected " +
	"mode option to 'no', and then restarting the server. " +
	"3) If you started the server manually just for testing, restart " +
	"it with the '--protected-mode no' option. " +
	"4) Setup a an authentication password for the default user. " +
	"NOTE: You only need to do one of the above things in order for " +
	"the server to start accepting connections from the outside.\r\n"

// localAddress is the server's end of a connection, in sockaddrString's form.
func localAddress(fd int, l string, isUnix bool) string {
	if isUnix {
		return l + ":0"
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return "?:0"
	}
	return sockaddrString(sa)
}
