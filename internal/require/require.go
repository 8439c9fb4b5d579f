// Package require decides whether a test that needs a real part (a Redis, a
// kernel with eBPF, a browser) runs, skips or fails. It is for tests only, and
// must never start or install anything itself.
package require

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// programs names what each part is made of: all of its programs must be on
// PATH. A part that is not a program (ebpf) is checked by its own test package,
// which calls Missing.
var programs = map[string][]string{
	"redis":    {"redis-server", "redis-cli", "redis-benchmark"},
	"bpftrace": {"bpftrace"},
	"bcc":      {"tplist-bpfcc"},
	"chromium": {"chromium"},
	"python":   {"python3"},
	"go":       {"go"},
	"gcc":      {"gcc"},
	"g++":      {"g++"},
}

// Tool skips the test, naming the reason, when the part called name is not on
// this machine. When the environment variable REDSCOPE_REQUIRE lists name, the
// test fails instead.
func Tool(t testing.TB, name string) {
	t.Helper()
	needed, ok := programs[name]
	if !ok {
		t.Fatalf("require: no part is called %q", name)
	}
	for _, p := range needed {
		if _, err := exec.LookPath(p); err != nil {
			Missing(t, name, p+" is not on PATH")
		}
	}
}

// Redis returns the path of the redis-server on PATH, or ends the test as Tool does.
func Redis(t testing.TB) string {
	t.Helper()
	Tool(t, "redis")
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// RedisAs returns the path of a copy of that redis-server under another name, which
// is gone when the test ends.
func RedisAs(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	// By another process: a program cannot be executed while somebody has it open to write,
	// were it only what this one forks meanwhile.
	if out, err := exec.Command("cp", Redis(t), path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// Jaeger returns the path of Jaeger's all-in-one: what REDSCOPE_JAEGER names, or
// else jaeger-all-in-one on PATH. Without either it ends the test as Tool does.
// The script .ci/jaeger builds one.
func Jaeger(t testing.TB) string {
	t.Helper()
	return program(t, "jaeger", "REDSCOPE_JAEGER", "jaeger-all-in-one", "builds")
}

// Valkey returns the path of a valkey-server: what REDSCOPE_VALKEY names, or else
// valkey-server on PATH. Without either it ends the test as Tool does. The script
// .ci/valkey fetches one.
func Valkey(t testing.TB) string {
	t.Helper()
	return program(t, "valkey", "REDSCOPE_VALKEY", "valkey-server", "fetches")
}

// program returns the path of what the environment variable or else PATH names;
// without either it ends the test, and says that .ci/PART can do something about it.
func program(t testing.TB, part, variable, name, does string) string {
	t.Helper()
	if value := os.Getenv(variable); value != "" {
		name = value
	}
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, part, fmt.Sprintf("%v; %s=$(.ci/%s) %s it", err, variable, part, does))
	}
	return path
}

// Missing ends the test because the part called name is absent for the given
// reason: as skipped, or as failed when REDSCOPE_REQUIRE lists name.
func Missing(t testing.TB, name, reason string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("REDSCOPE_REQUIRE"), ","), name) {
		t.Fatalf("REDSCOPE_REQUIRE names %s, but %s", name, reason)
	}
	t.Skipf("needs %s: %s", name, reason)
}
