package latency

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// faults looks in the page for texts that lie on one another, leave the page or the
// coloured part that they stand in, and for a phase that lacks its colour.
const faults = `
const inside = (a, b) => a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
const found = [], page = document.querySelector("svg.latency").getBoundingClientRect();
const all = (selector) => [...document.querySelectorAll(selector)].map((e) => ({e, at: e.getBoundingClientRect(), text: e.textContent}));
const texts = all("text"), parts = all("g.command rect.phase");
texts.forEach((a, i) => {
	if (a.at.width === 0 || !inside(a.at, page)) found.push(a.text + " is not on the page");
	for (const b of texts.slice(i + 1))
		if (a.at.left < b.at.right && b.at.left < a.at.right && a.at.top + 3 < b.at.bottom - 3 && b.at.top + 3 < a.at.bottom - 3) found.push(a.text + " lies on " + b.text);
	if (a.e.classList.contains("inside") && !parts.some((p) => inside(a.at, p.at))) found.push(a.text + " leaves its part");
});
for (const p of parts) if (!/^rgb\(\d+, \d+, \d+\)$/.test(getComputedStyle(p.e).fill) || getComputedStyle(p.e).fill === "rgb(0, 0, 0)") found.push(p.text + " has no colour");
const result = document.createElement("pre");
result.textContent = JSON.stringify({texts: texts.length, parts: parts.length, found});
document.body.append(result);
`

// In a real browser nothing lies on anything else, however large the numbers and
// however long the names.
func TestBrowser(t *testing.T) {
	require.Tool(t, "chromium")
	var commands []Command
	for i := range MostCommands + 20 {
		d := time.Duration(20) << i
		c := command(fmt.Sprintf("CLUSTER COUNT-FAILURE-REPORTS-%d", i), at(d, 1_000_000), at(3*d, 1_000_000), at(200*d, 30_000), at(100*time.Second, 1))
		for p := range c.Phases {
			c.Phases[p] = times(at(d*time.Duration(1+p*p), 5))
		}
		c.Calls, c.Errors, c.Loop = 1_234_567, 1_234_567, 1
		commands = append(commands, c)
	}
	p := page(commands...)
	p.Groups[0].Name = "a-server-of-15c[1234567]"
	p.Groups[0].Numbers = []string{"3600.0 s", "12345678 commands/s", "loop busy 100 %", "1234.5 commands per wake-up", "looking: 12345 ns of eBPF per command"}
	p.Groups = append(p.Groups, page(commands[1]).Groups[0], Group{Name: "idle[3]"})
	p.Notes = append(p.Notes, strings.Repeat("a long note ", 50))
	var out bytes.Buffer
	if err := WriteSVG(&out, p); err != nil {
		t.Fatal(err)
	}
	_, svg, _ := strings.Cut(out.String(), "\n") // without the XML declaration
	dir := t.TempDir()
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, []byte(`<!doctype html><meta charset="utf-8"><body style="margin:0">`+svg+"<script>"+faults+"</script>"), 0o600); err != nil {
		t.Fatal(err)
	}
	dom, err := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
		"--window-size=1300,900", "--user-data-dir="+filepath.Join(dir, "data"), "--dump-dom", "file://"+file).Output()
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`<pre>(.*)</pre>`).FindSubmatch(dom)
	if m == nil {
		t.Fatalf("chromium says %s", dom)
	}
	var result struct {
		Texts, Parts int
		Found        []string
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(string(m[1]))), &result); err != nil {
		t.Fatal(err)
	}
	if want := (MostCommands + 1) * 2 * len(phases); result.Parts != want {
		t.Errorf("%d parts of phases, want %d", result.Parts, want)
	}
	for _, f := range result.Found {
		t.Error(f)
	}
}
