package engine

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/redscope/redscope/internal/require"
)

// TestGoRedis uses the server through go-redis, which begins with HELLO 3 and
// CLIENT SETINFO, and goes on when the latter is refused.
func TestGoRedis(t *testing.T) {
	for _, protocol := range []int{2, 3} {
		rdb := redis.NewClient(&redis.Options{Addr: startOurs(t, "--requirepass", "secret"), Password: "secret", Protocol: protocol, ClientName: "tester", DB: 3})
		defer rdb.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := rdb.Set(ctx, "key", "value", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		if v, err := rdb.Get(ctx, "key").Result(); v != "value" || err != nil {
			t.Error(v, err)
		}
		if _, err := rdb.Get(ctx, "absent").Result(); err != redis.Nil {
			t.Error(err)
		}
		if ttl, err := rdb.TTL(ctx, "key").Result(); ttl != time.Minute || err != nil {
			t.Error(ttl, err)
		}
		if v, err := rdb.ConfigGet(ctx, "hz").Result(); v["hz"] != "10" || err != nil {
			t.Error(v, err)
		}
		if name, err := rdb.ClientGetName(ctx).Result(); name != "tester" || err != nil {
			t.Error(name, err)
		}
		if info, err := rdb.Info(ctx, "keyspace").Result(); !strings.Contains(info, "db3:keys=1,expires=1,avg_ttl=") || err != nil {
			t.Error(info, err)
		}
		commands, err := rdb.Command(ctx).Result()
		if err != nil || commands["set"] == nil || commands["set"].FirstKeyPos != 1 {
			t.Error(commands["set"], err)
		}
		pipe := rdb.Pipeline()
		for range 1000 {
			pipe.Incr(ctx, "n")
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Error(err)
		}
		if n, err := rdb.Get(ctx, "n").Int(); n != 1000 || err != nil {
			t.Error(n, err)
		}
	}
}

func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestRedisCLI(t *testing.T) {
	require.Tool(t, "redis")
	host, port, _ := net.SplitHostPort(startOurs(t))
	in := "SET greeting \"hello world\"\nGET greeting\nINCR greeting\nSELECT 1\nGET greeting\nHELLO 3\nCONFIG GET databases\n"
	out := run(t, in, "redis-cli", "-h", host, "-p", port, "--no-raw")
	for _, want := range []string{"OK\n\"hello world\"\n(error) ERR value is not an integer or out of range\n", "\nOK\n(nil)\n", "1# \"databases\" => \"16\"\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if out := run(t, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n", "redis-cli", "-h", host, "-p", port, "--pipe"); !strings.Contains(out, "errors: 0, replies: 1") {
		t.Error(out)
	}
	if out := run(t, "", "redis-cli", "-h", host, "-p", port, "--scan"); out != "a\ngreeting\n" && out != "greeting\na\n" {
		t.Errorf("--scan: %q", out)
	}
}

func TestRedisBenchmark(t *testing.T) {
	require.Tool(t, "redis")
	host, port, _ := net.SplitHostPort(startOurs(t))
	for _, args := range [][]string{{"-n", "20000"}, {"-n", "100000", "-P", "16", "-r", "1000"}} {
		out := run(t, "", "redis-benchmark", append([]string{"-h", host, "-p", port, "-t", "ping,set,get,incr,mset", "--csv"}, args...)...)
		if n := strings.Count(out, "\n"); n != 7 || strings.Contains(strings.ToLower(out), "error") {
			t.Errorf("%q: %s", args, out)
		}
	}
}

// TestPythonSeed runs the scenario of the main job, shortened, with python3-redis.
func TestPythonSeed(t *testing.T) {
	require.Tool(t, "python")
	const python = "/usr/bin/python3" // the one that Debian's python3-redis belongs to
	if exec.Command(python, "-c", "import redis").Run() != nil {
		require.Missing(t, "python", "python3-redis is not installed")
	}
	host, port, _ := net.SplitHostPort(startOurs(t))
	if out := run(t, "", python, "testdata/seed.py", host, port, "5000"); out != "10000004999\n" {
		t.Errorf("the last value is %q", out)
	}
}
