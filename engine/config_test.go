package engine

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redscope/redscope/engine/probe"
	"github.com/redscope/redscope/internal/port"
	"github.com/redscope/redscope/internal/require"
)

// ownParams are the parameters that Redis does not have.
var ownParams = []string{"markers", "otlp-endpoint", "trace-file", "trace-query-text", "trace-sample"}

// differingDefaults are the parameters whose value without a configuration is
// not that of redis-server, with the reason.
var differingDefaults = map[string]string{
	"bind": "a server that nobody configured listens on loopback addresses only",
	"save": "nothing is written to disk, and a default must not promise it",
}

// setByTest are the parameters that startOracle or startOurs sets.
var setByTest = []string{"port", "save", "dir", "loglevel", "logfile"}

func configMap(t *testing.T, c *testConn) map[string]string {
	t.Helper()
	values := make(map[string]string)
	for pair := range slices.Chunk(c.do(t, "CONFIG", "GET", "*").Items, 2) {
		values[pair[0].Text] = pair[1].Text
	}
	return values
}

func TestConfigParametersAgainstOracle(t *testing.T) {
	theirs := configMap(t, dial(t, startOracle(t)))
	ours := configMap(t, dial(t, startOurs(t)))
	for _, name := range slices.Sorted(maps.Keys(theirs)) {
		got, ok := ours[name]
		switch want := theirs[name]; {
		case !ok:
			t.Errorf("there is no parameter %s (%q in Redis)", name, want)
		case slices.Contains(setByTest, name):
		case differingDefaults[name] != "":
			if got == want {
				t.Errorf("%s does not differ any more", name)
			}
		case got != want:
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name := range ours {
		if _, ok := theirs[name]; !ok && !slices.Contains(ownParams, name) {
			t.Errorf("Redis has no parameter %s", name)
		}
	}
}

// TestConfigSetAgainstOracle gives each parameter good and bad values, and wants
// the same answer and the same value afterwards.
func TestConfigSetAgainstOracle(t *testing.T) {
	theirs := dial(t, startOracle(t))
	ours := dial(t, startOurs(t))
	// Their effects are on the machine, or tested elsewhere.
	skip := []string{"port", "bind", "dir", "maxclients", "requirepass", "timeout", "oom-score-adj", "loglevel", "tls-port", "appendonly", "client-query-buffer-limit",
		// Redis keeps what cannot be in an integer of C; we refuse it.
		"client-output-buffer-limit",
		// Only refused by a Redis that was built without its own jemalloc.
		"activedefrag"}
	values := []string{"", "0", "1", "-1", "2", "-2", "7", "11", "100", "101", "1001", "65535", "65536", "2147483647", "2147483648",
		"4294967295", "4294967296", "-2147483648", "1kb", "1Kb", "1k", "2mb", "3 3", "1 2 3", "50%", "101%", "-1%", "%", "yes", "YES", "no",
		"local", "x", "a/b", "1.5", "01", " 1", "nosave now", "save nosave", "KEA", "mgn", "AE", "Ax?", "99.99 1", "101 1", "ex_ample", "default"}
	for _, p := range newConfigTable().rows {
		if slices.Contains(skip, p.name) || slices.Contains(ownParams, p.name) || strings.HasPrefix(p.name, "tls-") {
			continue
		}
		for _, v := range values {
			want := theirs.do(t, "CONFIG", "SET", p.name, v)
			got := ours.do(t, "CONFIG", "SET", p.name, v)
			if got.String() != want.String() {
				t.Errorf("CONFIG SET %s %q:\n got %s\nwant %s", p.name, v, got, want)
			}
			want = theirs.do(t, "CONFIG", "GET", p.name)
			got = ours.do(t, "CONFIG", "GET", p.name)
			if got.String() != want.String() && !(p.flags&paramImmutable != 0 || differingDefaults[p.name] != "") {
				t.Errorf("after CONFIG SET %s %q, CONFIG GET: got %s, want %s", p.name, v, got, want)
			}
		}
	}
}

// TestConfigFileErrorsAgainstOracle compares what a bad command line is told.
func TestConfigFileErrorsAgainstOracle(t *testing.T) {
	require.Tool(t, "redis")
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.conf")
	included := filepath.Join(dir, "included.conf")
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(included, "# nothing\n\nhz x\n")
	for _, c := range []struct {
		file string
		args []string
	}{
		{args: []string{"--foo", "bar"}},
		{args: []string{"--port=7"}},
		{args: []string{"--port"}},
		{args: []string{"--port", "--hz", "3"}},
		{args: []string{"--port", "7", "8"}},
		{args: []string{"--hz", "a b"}},
		{args: []string{"--timeout", "x\"y"}},
		{args: []string{"--timeout 1", "--hz", "x"}},
		{args: []string{"--save", "--hz", "x"}},
		{args: []string{"--save", "1"}},
		{args: []string{"--client-output-buffer-limit", "normal", "1"}},
		{args: []string{"--client-output-buffer-limit", "abnormal 1 1 1"}},
		{args: []string{"--shutdown-on-sigterm", "save", "nosave"}},
		{args: []string{"--replicaof", "localhost"}},
		{args: []string{"--loglevel", "loud"}},
		{args: []string{"--unixsocketperm", "9"}},
		{file: "port 7\n\n# comment\nfoo \"b\\x41r\"\n"},
		{file: "port 7\nhz 'unbalanced\n"},
		{file: "   hz\t\t x  \r\n"},
		{file: "include " + included + "\n"},
		{file: "hz 10", args: []string{"--hz", "bad"}},
		{file: "HZ 10\nDatabases 0\n"},
		{file: "maxclients 0\n"},
		{file: "slaveof x 70000\n"},
		{file: "save 60\n"},
		{file: "bind 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n"},
	} {
		args := c.args
		if c.file != "" {
			write(file, c.file)
			args = append([]string{file}, args...)
		}
		var stderr strings.Builder
		cmd := exec.Command("redis-server", args...)
		cmd.Stderr = &stderr
		cmd.Dir = dir
		if err := cmd.Run(); err == nil {
			t.Fatalf("redis-server accepts %q", args)
		}
		_, err := LoadConfig(args)
		if err == nil {
			t.Errorf("%q is accepted; redis-server says %s", args, stderr.String())
			continue
		}
		if got := err.Error() + "\n"; got != stderr.String() {
			t.Errorf("%q:\n got %q\nwant %q", args, got, stderr.String())
		}
	}
}

// TestDebianConfig loads the file that Debian's package installs.
func TestDebianConfig(t *testing.T) {
	const file = "/etc/redis/redis.conf"
	text, err := os.ReadFile(file)
	if err != nil {
		require.Missing(t, "redis", "Debian's redis-server is not installed: "+err.Error())
	}
	conf := regexp.MustCompile(`(?m)^dir .*$`).ReplaceAll(text, nil)
	path := filepath.Join(t.TempDir(), "redis.conf")
	if err := os.WriteFile(path, conf, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(cfg.Bind, " "); got != "127.0.0.1 -::1" || cfg.Port != 6379 || cfg.PidFile == "" || cfg.LogFile == "" {
		t.Errorf("bind %q, port %d, pidfile %q, logfile %q", got, cfg.Port, cfg.PidFile, cfg.LogFile)
	}
}

func TestEveryDirectiveIsAccepted(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "redis.conf")
	text := fmt.Sprintf(`
include %s/*.inc
appendonly yes
save 900 1
save 300 10
replicaof 127.0.0.1 7000
cluster-enabled yes
tls-port 7001
io-threads 4
maxmemory 100mb
user default on nopass sanitize-payload ~* &* +@all
some.module-parameter 3
client-output-buffer-limit replica 1mb 1kb 5
client-output-buffer-limit normal 5 6 7
`, dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.inc"), []byte("hz 33\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig([]string{path, "--save", "60 1", "--trace-sample", "0.5"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"save": "900 1 300 10 60 1", "maxmemory": "104857600", "io-threads": "4", "hz": "33", "trace-sample": "0.5",
		"client-output-buffer-limit": "normal 5 6 7 slave 1048576 1024 5 pubsub 33554432 8388608 60",
	} {
		if got := cfg.get(cfg.lookup(name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	warnings := strings.Join(cfg.warnings(), "\n")
	for _, name := range []string{"appendonly", "save", "replicaof", "cluster-enabled", "tls-port", "io-threads", "maxmemory", "some.module-parameter"} {
		if !regexp.MustCompile(`(?m)^` + name + ` is not available yet: .`).MatchString(warnings) {
			t.Errorf("no warning about %s in:\n%s", name, warnings)
		}
	}
	if w := DefaultConfig().warnings(); len(w) != 0 {
		t.Errorf("the default configuration warns: %q", w)
	}
}

// What would leave the server open to those it was meant to keep out is refused.
func TestLoadConfigRefuses(t *testing.T) {
	for _, line := range []string{
		`aclfile /nonexistent`, `user alice on >secret ~* +@all`, `user default on #abc ~* +@all`,
		`user default on nopass ~* -@all`, `rename-command CONFIG ""`, `loadmodule /nonexistent.so a b`,
	} {
		path := filepath.Join(t.TempDir(), "redis.conf")
		if err := os.WriteFile(path, []byte(line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig([]string{path}); err == nil || !strings.Contains(err.Error(), "not available") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestLoadConfigArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		err  error
	}{{[]string{"--help"}, ErrHelp}, {[]string{"-h"}, ErrHelp}, {[]string{"--version"}, ErrVersion}, {[]string{"-v"}, ErrVersion}} {
		if _, err := LoadConfig(c.args); err != c.err {
			t.Errorf("%q: %v", c.args, err)
		}
	}
	cfg, err := LoadConfig([]string{"--bind", "127.0.0.1", "-::1", "--port", "0", "--save"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(cfg.Bind, []string{"127.0.0.1", "-::1"}) {
		t.Errorf("bind %q", cfg.Bind)
	}
	if _, err := New(cfg, nil); err == nil {
		t.Error("a server listens nowhere and says nothing")
	}
}

// TestConfigRewriteAgainstOracle rewrites the same file with both servers after
// the same changes.
func TestConfigRewriteAgainstOracle(t *testing.T) {
	require.Tool(t, "redis")
	const text = `# my config
bind 127.0.0.1

maxclients 100
# limits
client-output-buffer-limit normal 1mb 0 0
client-output-buffer-limit pubsub 1000 0 0
slave-priority 50
timeout 0


# two empty lines above
save 900 1
save 300 10
save 60 10000
requirepass ""
logfile ""
masterauth "x y"
hz 10
maxmemory 100mb
`
	changes := []string{"CONFIG", "SET", "timeout", "5", "maxmemory", "1gb", "save", "60 5", "hz", "20", "notify-keyspace-events", "KEA",
		"masterauth", "", "maxmemory-samples", "7", "maxmemory-clients", "5%", "repl-backlog-size", "2mb", "latency-tracking-info-percentiles", "50 90"}
	rewrite := func(start func(*testing.T, string) string) []string {
		file := filepath.Join(t.TempDir(), "redis.conf")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := dial(t, start(t, file))
		for _, cmd := range [][]string{changes, {"CONFIG", "REWRITE"}, {"CONFIG", "REWRITE"}} {
			if v := c.do(t, cmd...); v.Text != "OK" {
				t.Fatalf("%q: %s", cmd, v)
			}
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, tail, _ := strings.Cut(string(b), rewriteSignature+"\n")
		added := strings.Split(strings.TrimSpace(tail), "\n")
		slices.Sort(added)
		added = slices.DeleteFunc(added, func(l string) bool {
			// The servers of a test run with options of their own, and there are no
			// users to write down.
			return regexp.MustCompile(`^(port|dir|user|loglevel|logfile|enable-) ?`).MatchString(l)
		})
		head = regexp.MustCompile(`(?m)^logfile .*$`).ReplaceAllString(head, "logfile")
		return append(strings.Split(head, "\n"), added...)
	}
	want := rewrite(func(t *testing.T, file string) string { return startOracle(t, file) })
	got := rewrite(func(t *testing.T, file string) string { return startOurs(t, file) })
	if d := firstDifference(got, want); d != "" {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", d, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestConfigSetEffects(t *testing.T) {
	addr := startOurs(t)
	c := dial(t, addr)
	host, _, _ := net.SplitHostPort(addr)
	port := strconv.Itoa(port.Free(t))
	if v := c.do(t, "CONFIG", "SET", "port", port); v.Text != "OK" {
		t.Fatal(v)
	}
	moved := dial(t, host+":"+port)
	if v := moved.do(t, "PING"); v.Text != "PONG" {
		t.Fatal(v)
	}
	// A port in use: the old one stays.
	taken := listenSomewhere(t)
	if v := c.do(t, "CONFIG", "SET", "port", taken, "hz", "50"); v.Text != "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs." {
		t.Error(v)
	}
	if v := dial(t, host+":"+port).do(t, "CONFIG", "GET", "hz"); v.Items[1].Text != "10" {
		t.Errorf("hz after a failed CONFIG SET: %s", v)
	}
	if v := c.do(t, "CONFIG", "SET", "bind", "nonsense"); v.Text != "ERR CONFIG SET failed (possibly related to argument 'bind') - Failed to bind to specified addresses." {
		t.Error(v)
	}
	if v := dial(t, host+":"+port).do(t, "CONFIG", "GET", "bind"); v.Items[1].Text != "127.0.0.1 -::1" {
		t.Errorf("bind after a failed CONFIG SET: %s", v)
	}
	if v := c.do(t, "CONFIG", "SET", "maxclients", "2000000000"); !strings.Contains(v.Text, "The operating system is not able to handle the specified number of clients, try with ") {
		t.Error(v)
	}
}

func TestPidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	startOurs(t, "--pidfile", path)
	if b, err := os.ReadFile(path); string(b) != fmt.Sprintf("%d\n", os.Getpid()) {
		t.Errorf("%q, %v", b, err)
	}
	if v := dial(t, startOurs(t, "--pidfile", "/nonexistent/pid")).do(t, "PING"); v.Text != "PONG" {
		t.Error(v)
	}
}

// Markers always opens the markers, once, and auto or the server's end closes
// them.
func TestConfigMarkers(t *testing.T) {
	open := func() bool { return probe.CommandStartEnabled() && probe.ReplyWrittenEnabled() }
	closed := func() bool { return !probe.CommandStartEnabled() && !probe.ReplyWrittenEnabled() }
	if !closed() {
		t.Skip("somebody looks at this process")
	}
	t.Run("server", func(t *testing.T) {
		s := newDirectServer(t, "--markers", "always")
		set := func(value string) string { return s.do("CONFIG", "SET", "markers", value) }
		for i, step := range []struct {
			value string
			state func() bool
		}{{"always", open}, {"auto", closed}, {"auto", closed}, {"always", open}, {"always", open}} {
			if reply := set(step.value); !strings.Contains(reply, "OK") || !step.state() {
				t.Errorf("step %d: %s, or the markers do not follow", i, reply)
			}
		}
		if reply := set("no"); !strings.Contains(reply, "auto, always") || !open() {
			t.Errorf("a wrong value: %s", reply)
		}
	})
	if !closed() {
		t.Error("open after the server's end")
	}
}
