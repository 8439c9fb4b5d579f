package engine

import (
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestSymbols wants every command function to have a plain name in the ELF symbol
// table, which is the name that the runtime knows it by, and symbols.go to be in
// order.
func TestSymbols(t *testing.T) {
	text, err := os.ReadFile("symbols.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, block := range strings.Split(string(text), "\n\n") {
		var names []string
		for _, m := range regexp.MustCompile(`(?m)^//go:linkname (\w+) (\w+)$`).FindAllStringSubmatch(block, -1) {
			if m[1] != m[2] {
				t.Errorf("%s has the name %s", m[1], m[2])
			}
			if listed[m[1]] {
				t.Errorf("%s is listed twice", m[1])
			}
			listed[m[1]] = true
			names = append(names, m[1])
		}
		if !slices.IsSorted(names) {
			t.Errorf("not in order: %s", names)
		}
	}
	procs := map[string]bool{}
	for _, cmd := range newCommandTable().commands.byID {
		if cmd.proc == nil {
			continue
		}
		name := runtime.FuncForPC(reflect.ValueOf(cmd.proc).Pointer()).Name()
		procs[name] = true
		if !listed[name] {
			t.Errorf("the function of %s is called %s, which symbols.go does not list", cmd.fullName, name)
		}
	}
	for name := range listed {
		if strings.HasSuffix(name, "Command") && !procs[name] && !slices.Contains([]string{
			"call", "processCommand", "incrDecrCommand", "delGenericCommand", "expireGenericCommand", "getGenericCommand",
			"msetGenericCommand", "renameGenericCommand", "scanGenericCommand", "blmoveGenericCommand", "blockingPopGenericCommand", "lmoveGenericCommand", "lmpopGenericCommand", "popGenericCommand", "pushGenericCommand", "setGenericCommand", "ttlGenericCommand", "securityWarningCommand",
			"msetGenericCommand", "renameGenericCommand", "scanGenericCommand", "setGenericCommand", "ttlGenericCommand", "securityWarningCommand",
			"blockingGenericZpopCommand", "genericZpopCommand", "zaddGenericCommand", "zmpopGenericCommand", "zpopMinMaxCommand", "zrandmemberWithCountCommand", "zrangeGenericCommand", "zrankGenericCommand", "zremrangeGenericCommand", "zunionInterDiffGenericCommand",
			"genericHgetallCommand", "hrandfieldWithCountCommand", "sinterGenericCommand", "spopWithCountCommand", "srandmemberWithCountCommand", "sunionDiffGenericCommand",
			"lookupStringForBitCommand", "msetGenericCommand", "renameGenericCommand", "scanGenericCommand", "setGenericCommand", "ttlGenericCommand", "securityWarningCommand",
			"xrangeGenericCommand", "xreadGenericCommand",
		}, name) {
			t.Errorf("%s is listed and no command's function", name)
		}
	}
}
