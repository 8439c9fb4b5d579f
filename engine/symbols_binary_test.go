package engine

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/require"
)

// directCalls are the calls that a stack walk from setCommand, or from the time
// events, must find in the server's binary: caller and callee. Where the path is
// taken through a function value, there is no pair.
var directCalls = [][2]string{
	{"main.main", "aeMain"},
	{"aeMain", "aeProcessEvents"},
	{"connSocketEventHandler", "callHandler"},
	{"readQueryFromClient", "processInputBuffer"},
	{"processInputBuffer", "processCommandAndResetClient"},
	{"processCommandAndResetClient", "processCommand"},
	{"processCommand", "call"},
	{"beforeSleep", "handleClientsWithPendingWrites"},
	{"handleClientsWithPendingWrites", "writeToClient"},
	{"serverCron", "databasesCron"},
	{"databasesCron", "activeExpireCycle"},
}

// TestSymbolsInBinary builds the server and wants each command's function, and
// each on the path of a command, in its symbol table, and none of these inlined
// into its caller.
func TestSymbolsInBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("short mode is for race and invariants, which the binary built here is without")
	}
	require.Tool(t, "go")
	binary := filepath.Join(t.TempDir(), "server")
	build := exec.Command("go", "build", "-o", binary, "../cmd/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	sizes := make(map[string]uint64)
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC {
			sizes[s.Name] = s.Size
		}
	}
	var want []string
	for _, cmd := range newCommandTable().commands.byID {
		if cmd.proc != nil {
			want = append(want, runtime.FuncForPC(reflect.ValueOf(cmd.proc).Pointer()).Name())
		}
	}
	var callers []string
	for _, pair := range directCalls {
		want = append(want, pair[0], pair[1])
		callers = append(callers, regexp.QuoteMeta(pair[0]))
	}
	for _, name := range want {
		if sizes[name] == 0 {
			t.Errorf("the server's binary has no function %s", name)
		}
	}
	out, err := exec.Command("go", "tool", "objdump", "-s", "^("+strings.Join(callers, "|")+")$", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, function := range strings.Split(string(out), "\nTEXT ") {
		name := strings.TrimPrefix(strings.SplitN(function, "(SB)", 2)[0], "TEXT ")
		for _, pair := range directCalls {
			if pair[0] == name && !regexp.MustCompile(`CALL `+regexp.QuoteMeta(pair[1])+`\(SB\)`).MatchString(function) {
				t.Errorf("%s does not call %s: something was inlined, or stands between them", pair[0], pair[1])
			}
		}
	}
}
