package redscope

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/redscope/redscope/internal/require"
)

const module = "github.com/redscope/redscope"

// layers says what each part of the tree must not reach, directly or through
// others. Dependencies point one way: cmd → {trace, bpf, flame, latency} → engine →
// leaves.
var layers = []struct {
	part  string   // packages at or below this path of the module
	never []string // import paths, the packages below them included
	why   string
}{
	{"engine", []string{module + "/trace", module + "/bpf", module + "/flame", module + "/latency", module + "/cmd"},
		"the engine does not know who watches it"},
	{"engine/internal", []string{module + "/engine"}, "leaves know neither server nor client"},
	{"engine/probe", []string{module + "/engine", "golang.org/x", "github.com"}, "the markers need the standard library only"},
	{"trace", []string{module + "/bpf", module + "/flame", module + "/latency", module + "/cmd"}, "siblings meet in cmd"},
	{"bpf", []string{module + "/trace", module + "/flame", module + "/latency", module + "/cmd"}, "siblings meet in cmd"},
	{"flame", []string{module + "/trace", module + "/bpf", module + "/latency", module + "/engine", module + "/cmd"}, "siblings meet in cmd"},
	{"latency", []string{module + "/trace", module + "/bpf", module + "/flame", module + "/engine", module + "/cmd"}, "siblings meet in cmd"},
}

// owners are the only parts that may import a library themselves.
var owners = map[string]string{
	"go.opentelemetry.io/otel":  "trace",
	"github.com/cilium/ebpf":    "bpf",
	"github.com/google/pprof":   "flame",
	"github.com/tidwall/redcon": "engine",
}

func within(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// TestLayers checks the direction of the dependencies and names the chain that
// breaks it.
func TestLayers(t *testing.T) {
	require.Tool(t, "go")
	out, err := exec.Command("go", "list", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	imports := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		imports[fields[0]] = fields[1:]
	}
	if len(imports[module+"/cmd/server"]) == 0 {
		t.Fatalf("go list names no imports of cmd/server; it printed:\n%s", out)
	}
	for pkg, direct := range imports {
		if !within(pkg, module) {
			continue
		}
		for _, l := range layers {
			if !within(pkg, module+"/"+l.part) {
				continue
			}
			for _, never := range l.never {
				allowed := func(path string) bool { return within(path, module+"/"+l.part) }
				if chain := chainTo(imports, pkg, never, allowed); chain != nil {
					t.Errorf("%s: %s", strings.Join(chain, " → "), l.why)
				}
			}
		}
		for library, owner := range owners {
			if within(pkg, module+"/"+owner) {
				continue
			}
			for _, p := range direct {
				if within(p, library) {
					t.Errorf("%s imports %s, which is for %s alone", pkg, p, owner)
				}
			}
		}
	}
}

// chainTo returns the shortest chain of imports from pkg to a package within
// target that is not allowed, nil when there is none.
func chainTo(imports map[string][]string, pkg, target string, allowed func(string) bool) []string {
	from := map[string]string{pkg: ""}
	queue := []string{pkg}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		if p != pkg && within(p, target) && !allowed(p) {
			var chain []string
			for ; p != ""; p = from[p] {
				chain = append(chain, p)
			}
			slices.Reverse(chain)
			return chain
		}
		for _, next := range imports[p] {
			if _, seen := from[next]; !seen {
				from[next] = p
				queue = append(queue, next)
			}
		}
	}
	return nil
}
