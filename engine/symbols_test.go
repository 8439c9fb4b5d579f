package engine

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/require"
)

// pathSymbols are the functions on the path of a command, and of the time
// events, that must be found by these names in the server's binary.
var pathSymbols = strings.Fields(`
	main.main aeMain aeProcessEvents connSocketEventHandler callHandler readQueryFromClient
	processInputBuffer processCommandAndResetClient processCommand call setCommand
	beforeSleep handleClientsWithPendingWrites writeToClient
	serverCron databasesCron activeExpireCycle`)

// TestSymbols builds the server and wants each command's function, and each on
// the path of a command, in its symbol table. A function that was inlined
// everywhere has no symbol, or none that is ever entered; those on the path are
// called through each other only, so each must be seen to be called.
func TestSymbols(t *testing.T) {
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
	want := slices.Clone(pathSymbols)
	for _, cmd := range newCommandTable().commands.byID {
		if cmd.proc == nil {
			continue
		}
		name := runtime.FuncForPC(reflect.ValueOf(cmd.proc).Pointer()).Name()
		if strings.Contains(name, ".") {
			t.Errorf("%s of command %s has no line in symbols.go", name, cmd.fullName)
			continue
		}
		want = append(want, name)
	}
	for _, name := range want {
		if sizes[name] == 0 {
			t.Errorf("the server's binary has no function %s", name)
		}
	}
	// What the compiler has inlined it says, function by function.
	out, err := exec.Command("go", "build", "-o", os.DevNull, "-gcflags=github.com/redscope/redscope/...=-m", "../cmd/server").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range want {
		if strings.Contains(string(out), "inlining call to "+name+"\n") || strings.Contains(string(out), "inlining call to engine."+name+"\n") {
			t.Errorf("%s is inlined", name)
		}
	}
	for _, name := range []string{"engine.(*Server).Serve", "ae.Main"} {
		if !strings.Contains(string(out), "inlining call to "+name+"\n") {
			t.Errorf("%s is not inlined into main: it would stand between aeMain and main", name)
		}
	}
}

// TestSymbolsListed wants the lines of symbols.go sorted within each block, and
// each to name one thing.
func TestSymbolsListed(t *testing.T) {
	text, err := os.ReadFile("symbols.go")
	if err != nil {
		t.Fatal(err)
	}
	var last string
	for _, line := range strings.Split(string(text), "\n") {
		names, ok := strings.CutPrefix(line, "//go:linkname ")
		if !ok {
			last = ""
			continue
		}
		a, b, _ := strings.Cut(names, " ")
		if a != b {
			t.Errorf("%q gives a function another name", line)
		}
		if a <= last {
			t.Errorf("%s comes after %s", a, last)
		}
		last = a
	}
}
