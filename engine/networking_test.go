package engine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/internal/wire"
)

// The scripts in testdata/protocol hold the protocol against the oracle. These
// tests are about sockets: what is slow, cut, flooded, silent or gone.

// closed reports whether the server has closed the connection, waiting for it.
func (c *testConn) closed(t testing.TB) bool {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	_, err := c.r.ReadByte()
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

func (c *testConn) send(t testing.TB, b string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, b); err != nil {
		t.Fatal(err)
	}
}

func (c *testConn) expect(t testing.TB, want string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.r, got); err != nil {
		t.Fatalf("%v after %q, want %q", err, got[:n], want)
	}
	if string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// TestPartialInput cuts two pipelined commands at every pair of bytes.
func TestPartialInput(t *testing.T) {
	c := dial(t, startOurs(t))
	in := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\nbc\r\nPING x\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
	want := "+OK\r\n$1\r\nx\r\n$5\r\na\r\nbc\r\n"
	c.Conn.(*net.TCPConn).SetNoDelay(true)
	for i := 1; i < len(in); i += 2 {
		for j := i + 1; j < len(in); j += 5 {
			for _, part := range []string{in[:i], in[i:j], in[j:]} {
				c.send(t, part)
				runtime.Gosched()
			}
			c.expect(t, want)
		}
	}
}

func TestDeepPipeline(t *testing.T) {
	c := dial(t, startOurs(t))
	const n = 200_000
	go io.WriteString(c, strings.Repeat("*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n", n))
	for i := 1; i <= n; i++ {
		c.expect(t, ":"+strconv.Itoa(i)+"\r\n")
	}
}

// TestProtocolErrorDisturbsNobody wants what came before the error answered,
// nothing after it, and other clients served.
func TestProtocolErrorDisturbsNobody(t *testing.T) {
	addr := startOurs(t)
	other := dial(t, addr)
	other.send(t, "*2\r\n$4\r\nECHO\r\n$5\r\nhe")
	bad := dial(t, addr)
	bad.send(t, "PING\r\n*1\r\n!oops\r\nPING\r\n")
	bad.expect(t, "+PONG\r\n-ERR Protocol error: expected '$', got '!'\r\n")
	if !bad.closed(t) {
		t.Error("the connection is open after a protocol error")
	}
	other.send(t, "llo\r\n")
	other.expect(t, "$5\r\nhello\r\n")
}

func TestQueryBufferLimit(t *testing.T) {
	addr := startOurs(t, "--client-query-buffer-limit", "1mb", "--proto-max-bulk-len", "10mb")
	c := dial(t, addr)
	io.WriteString(c, "*2\r\n$4\r\nECHO\r\n$5000000\r\n")
	io.WriteString(c, strings.Repeat("x", 2<<20))
	if !c.closed(t) {
		t.Error("a client beyond client-query-buffer-limit goes on")
	}
	if v := dial(t, addr).do(t, "PING"); v.Text != "PONG" {
		t.Error(v)
	}
}

// TestOutputBufferLimits has clients that ask and do not read.
func TestOutputBufferLimits(t *testing.T) {
	addr := startOurs(t)
	admin := dial(t, addr)
	admin.do(t, "SET", "big", strings.Repeat("x", 1<<20))
	for _, limit := range []string{"normal 8mb 0 0", "normal 0 1mb 1"} {
		admin.do(t, "CONFIG", "SET", "client-output-buffer-limit", limit)
		silent := dial(t, addr)
		silent.SetDeadline(time.Now().Add(patience))
		id := silent.do(t, "CLIENT", "ID").Text
		for range 20 {
			if _, err := io.WriteString(silent, strings.Repeat("GET big\r\n", 2)); err != nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		deadline := time.Now().Add(patience)
		for admin.do(t, "CLIENT", "LIST", "ID", id).Text != "" {
			if time.Now().After(deadline) {
				t.Fatalf("%s: a client that never reads stays: %s", limit, admin.do(t, "CLIENT", "LIST", "ID", id).Text)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// TestSlowReader has a client that never catches up with what it asks for: what
// was written to it must not be kept.
func TestSlowReader(t *testing.T) {
	addr := startOurs(t)
	admin := dial(t, addr)
	value := strings.Repeat("0123456789abcdef", 1<<16)
	admin.do(t, "SET", "big", value)
	slow := dial(t, addr)
	id := slow.do(t, "CLIENT", "ID").Text
	const window, total = 32, 240 // replies; the kernel's buffers take about eight
	want := fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
	slow.send(t, strings.Repeat("GET big\r\n", window))
	for i := range total {
		slow.expect(t, want)
		if i < total-window {
			slow.send(t, "GET big\r\n")
		}
		if i == total-window-1 {
			info := admin.do(t, "CLIENT", "LIST", "ID", id).Text
			_, after, _ := strings.Cut(info, " tot-mem=")
			memory, _, _ := strings.Cut(after, " ")
			if n, _ := strconv.Atoi(memory); n > 3*window<<20 {
				t.Errorf("at the end the client takes %d bytes: %s", n, info)
			}
		}
	}
}

func TestMaxClients(t *testing.T) {
	addr := startOurs(t, "--maxclients", "3")
	var open []*testConn
	for range 3 {
		c := dial(t, addr)
		c.do(t, "PING")
		open = append(open, c)
	}
	refused := dial(t, addr)
	refused.expect(t, "-ERR max number of clients reached\r\n")
	if !refused.closed(t) {
		t.Error("a refused client is connected")
	}
	open[0].Close()
	deadline := time.Now().Add(patience)
	for {
		c := dial(t, addr)
		c.send(t, "PING\r\n")
		if v, err := wire.ReadReply(c.r); err == nil && v.Text == "PONG" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a place that became free is not given to anybody")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestIdleTimeout(t *testing.T) {
	// More seconds than a machine can keep the busy client from its turn.
	addr := startOurs(t, "--timeout", "3")
	idle, busy := dial(t, addr), dial(t, addr)
	closed := make(chan bool, 1)
	go func() { closed <- idle.closed(t) }()
	for {
		if v := busy.do(t, "PING"); v.Text != "PONG" {
			t.Fatal(v)
		}
		select {
		case closed := <-closed:
			if !closed {
				t.Error("an idle client is connected after its timeout")
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	startOurs(t, "--unixsocket", path, "--unixsocketperm", "700")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatal(info, err)
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &testConn{conn, bufio.NewReader(conn)}
	if text := c.do(t, "CLIENT", "LIST").Text; !strings.Contains(text, " addr="+path+":0 laddr="+path+":0 ") || !strings.Contains(text, " flags=U ") {
		t.Error(text)
	}
}

// TestBigBulk wants the processor time of a big value to grow with its size, not with the
// square of it, whether it comes as one argument or as many.
func TestBigBulk(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 300 MB")
	}
	c := dial(t, startOurs(t))
	set := func(size int) time.Duration {
		value := bytes.Repeat([]byte("x"), size)
		start := cpuTime()
		if v := c.do(t, "SET", "big", string(value)); v.Text != "OK" {
			t.Fatal(v)
		}
		took := time.Duration(cpuTime() - start)
		if v := c.do(t, "STRLEN", "big"); v.Text != strconv.Itoa(size) {
			t.Fatal(v)
		}
		return took
	}
	set(10 << 20)
	small, big := set(10<<20), set(100<<20)
	if big > 60*max(small, 5*time.Millisecond) {
		t.Errorf("10 MiB took %v, 100 MiB %v", small, big)
	}
	many := func(n int) time.Duration {
		args := make([]string, n+1)
		args[0] = "EXISTS"
		for i := 1; i <= n; i++ {
			args[i] = "0123456789abcdef"
		}
		start := cpuTime()
		if v := c.do(t, args...); v.Text != "0" {
			t.Fatal(v)
		}
		return time.Duration(cpuTime() - start)
	}
	many(100_000)
	if few, lots := many(100_000), many(1_000_000); lots > 60*max(few, 5*time.Millisecond) {
		t.Errorf("100,000 arguments took %v, 1,000,000 %v", few, lots)
	}
}

// openFiles counts the descriptors of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestConnectionsLeaveNothing opens and closes ten thousand connections, some in
// the middle of a command, and wants their descriptors and memory back.
func TestConnectionsLeaveNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 10,000 connections")
	}
	addr := startOurs(t)
	admin := dial(t, addr)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	round := func() {
		const batch = 500
		for range 10_000 / batch {
			var conns []net.Conn
			for i := range batch {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				if i%2 == 0 {
					io.WriteString(conn, "*2\r\n$4\r\nECHO\r\n$100000\r\nunfinished")
				}
				conns = append(conns, conn)
			}
			for _, conn := range conns {
				conn.Close()
			}
		}
		deadline := time.Now().Add(patience)
		for !strings.Contains(admin.do(t, "INFO", "clients").Text, "connected_clients:1\r\n") {
			if time.Now().After(deadline) {
				t.Fatal(admin.do(t, "INFO", "clients"))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	round()
	files, bytesBefore := openFiles(t), heap()
	round()
	if now := openFiles(t); now > files+5 {
		t.Errorf("%d descriptors before, %d after", files, now)
	}
	if now := heap(); now > bytesBefore+4<<20 {
		t.Errorf("%d bytes before, %d after", bytesBefore, now)
	}
}

// TestHalfClosed wants the replies to what a client sent before it closed its
// sending side.
func TestHalfClosed(t *testing.T) {
	c := dial(t, startOurs(t))
	c.send(t, "SET a 1\r\nGET a\r\nPI")
	c.Conn.(*net.TCPConn).CloseWrite()
	c.expect(t, "+OK\r\n$1\r\n1\r\n")
	if !c.closed(t) {
		t.Error("the server keeps a half-closed connection")
	}
}

func TestKillSelf(t *testing.T) {
	c := dial(t, startOurs(t))
	id := c.do(t, "CLIENT", "ID").Text
	c.send(t, "CLIENT KILL ID "+id+" SKIPME no\r\nPING\r\n")
	c.expect(t, ":1\r\n")
	if !c.closed(t) {
		t.Error("a client that killed itself goes on")
	}
}

// TestCloseWithoutReplies wants connections closed that are to be closed after a
// reply that they do not get.
func TestCloseWithoutReplies(t *testing.T) {
	addr := startOurs(t)
	for _, last := range []string{"QUIT\r\n", "*1\r\n!\r\n", "CLIENT KILL TYPE normal SKIPME no\r\n"} {
		c := dial(t, addr)
		c.send(t, "CLIENT REPLY OFF\r\nPING\r\n"+last)
		if !c.closed(t) {
			t.Errorf("open after %q with replies off", last)
		}
	}
}

// TestSecurityTrap wants an HTTP request to end the connection before its body
// is read as commands.
func TestSecurityTrap(t *testing.T) {
	addr := startOurs(t)
	for _, head := range []string{"POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: localhost\r\n"} {
		c := dial(t, addr)
		c.send(t, head+"\r\nSET trapped 1\r\n")
		c.SetReadDeadline(time.Now().Add(patience))
		io.Copy(io.Discard, c.r)
	}
	if v := dial(t, addr).do(t, "EXISTS", "trapped"); v.Text != "0" {
		t.Error("a command in an HTTP body was executed")
	}
}

// TestProtectedMode connects through an address that is not loopback.
func TestProtectedMode(t *testing.T) {
	var own string
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && ip.IP.To4() != nil {
			own = ip.IP.String()
		}
	}
	if own == "" {
		t.Skip("this machine has no address but loopback")
	}
	addr := startOurs(t, "--bind", "*", "--enable-debug-command", "local")
	_, port, _ := net.SplitHostPort(addr)
	c := dial(t, net.JoinHostPort(own, port))
	if line, _ := c.r.ReadString('\n'); !strings.HasPrefix(line, "-DENIED Redis is running in protected mode") {
		t.Errorf("got %q", line)
	}
	local := dial(t, net.JoinHostPort("127.0.0.1", port))
	if v := local.do(t, "DEBUG", "SLEEP", "0"); v.Text != "OK" {
		t.Error(v)
	}
	local.do(t, "CONFIG", "SET", "requirepass", "secret")
	remote := dial(t, net.JoinHostPort(own, port))
	remote.do(t, "AUTH", "secret")
	if v := remote.do(t, "DEBUG", "SLEEP", "0"); !strings.HasPrefix(v.Text, "ERR DEBUG command not allowed") {
		t.Error(v)
	}
}

func TestPauseHoldsPipeline(t *testing.T) {
	addr := startOurs(t)
	admin, c := dial(t, addr), dial(t, addr)
	c.do(t, "PING")
	start := time.Now() // before the pause begins, so that it lasts from here on at least
	admin.do(t, "CLIENT", "PAUSE", "300", "WRITE")
	c.send(t, "GET a\r\nSET a 1\r\nGET a\r\n")
	c.send(t, "SET b 2\r\nGET b\r\n")
	c.expect(t, "$-1\r\n")
	c.expect(t, "+OK\r\n$1\r\n1\r\n+OK\r\n$1\r\n2\r\n")
	if took := time.Since(start); took < 298*time.Millisecond { // the server counts in milliseconds
		t.Errorf("the pause took %v", took)
	}
}

// TestMaxClientsLowered has fewer descriptors than maxclients needs.
func TestMaxClientsLowered(t *testing.T) {
	var had unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	addr := startOurs(t, "--maxclients", strconv.FormatUint(had.Max, 10))
	got := dial(t, addr).do(t, "CONFIG", "GET", "maxclients").Items[1].Text
	asked, lowered := strconv.FormatUint(had.Max, 10), strconv.FormatUint(had.Max-minReservedDescriptors, 10)
	if got != lowered && (os.Geteuid() != 0 || got != asked) { // root may raise the limit
		t.Errorf("maxclients is %s with %d descriptors", got, had.Max)
	}
}

// TestPauseKeepsReplySkip wants CLIENT REPLY SKIP to hold for the next command,
// though that has to wait.
func TestPauseKeepsReplySkip(t *testing.T) {
	addr := startOurs(t)
	admin, c := dial(t, addr), dial(t, addr)
	c.send(t, "CLIENT REPLY SKIP\r\n")
	for !strings.Contains(admin.do(t, "CLIENT", "LIST").Text, "cmd=client|reply") {
		time.Sleep(time.Millisecond)
	}
	admin.do(t, "CLIENT", "PAUSE", "100", "WRITE")
	c.send(t, "SET a 1\r\nECHO x\r\n")
	c.expect(t, "$1\r\nx\r\n")
}

// TestPauseKeepsExpired wants nothing deleted while writes are paused, though
// expired keys cannot be seen.
func TestPauseKeepsExpired(t *testing.T) {
	c := dial(t, startOurs(t))
	// In one write, so that nothing can delete the key between them.
	c.send(t, "SET a 1 PX 20\r\nCLIENT PAUSE 3600000 WRITE\r\n")
	c.expect(t, "+OK\r\n+OK\r\n")
	for c.do(t, "GET", "a").Kind != wire.NilBulk {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(250 * time.Millisecond) // two turns of serverCron and more
	if v := c.do(t, "DBSIZE"); v.Text != "1" {
		t.Errorf("DBSIZE is %v in a pause", v)
	}
	c.do(t, "RANDOMKEY") // comes back
	c.do(t, "CLIENT", "UNPAUSE")
	for end := time.Now().Add(patience); c.do(t, "DBSIZE").Text != "0"; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the key stays after the pause")
		}
	}
}

// TestBigBufferGivenBack wants the buffer of a big command gone although its
// client, and others, go on with small ones.
func TestBigBufferGivenBack(t *testing.T) {
	s := newDirectServer(t)
	const size = 8 << 20
	s.c.query = append(make([]byte, 0, size+1000), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$"+strconv.Itoa(size)+"\r\n"...)
	s.c.query = append(append(s.c.query, make([]byte, size)...), "\r\n"...)
	processInputBuffer(s.c)
	s.c.keepQuery(false)
	if s.lookupCommand([]byte("set")).calls != 1 {
		t.Fatal("the command was not executed")
	}
	for range 2 {
		unix.Write(s.peer, []byte("PING\r\n"))
		readQueryFromClient(&s.c.connection)
		clientsCron(s.Server)
	}
	if cap(s.c.spare) >= size {
		t.Errorf("a client that sends small commands keeps %d bytes", cap(s.c.spare))
	}
	for i, arg := range s.batch.args[:cap(s.batch.args)] {
		if len(arg) >= size {
			t.Errorf("argument %d of an old command is kept, with %d bytes", i, len(arg))
		}
	}
}

// TestPostponedAndGone wants nothing kept of clients that went during a pause.
func TestPostponedAndGone(t *testing.T) {
	s := newDirectServer(t)
	s.pause = pause{until: s.loopClock.unixMs + 100_000}
	unix.Write(s.peer, []byte("PING\r\n"))
	readQueryFromClient(&s.c.connection)
	if len(s.clients.postponed) != 1 {
		t.Fatal("not postponed")
	}
	freeClient(s.c)
	if len(s.clients.postponed) != 0 {
		t.Error("a client that is gone still waits for the end of the pause")
	}
}

// Integers in replies are what strconv makes of them.
func TestAppendInt(t *testing.T) {
	check := func(n int64) {
		digits := strconv.FormatInt(n, 10)
		if got, want := string(appendInt([]byte("x"), n)), "x:"+digits+"\r\n"; got != want {
			t.Fatalf("appendInt(%d): %q", n, got)
		}
		if got, want := string(appendBulkInt([]byte("x"), n)), fmt.Sprintf("x$%d\r\n%s\r\n", len(digits), digits); got != want {
			t.Fatalf("appendBulkInt(%d): %q", n, got)
		}
	}
	for n := int64(0); n < 20000; n++ { // every half, in each place
		check(n)
		check(n*1e4 + n%1e4)
	}
	for n := int64(1); n < 1e18; n *= 10 {
		for _, near := range []int64{-n, n - 1, n, n + 1} {
			check(near)
		}
	}
	check(math.MaxInt64)
	check(math.MinInt64)
}
