package flame

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

// browser is a headless Chromium showing one page. It is driven through the
// DevTools protocol over a pair of pipes, which needs neither a port nor a
// package: messages are JSON, each ended by a zero byte.
type browser struct {
	t       *testing.T
	write   *os.File
	replies chan message
	id      int
	session string
	loads   int
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
	Params json.RawMessage `json:"params"`
}

// patience is how long tests wait for what must come, of which the first go tool pprof is
// built before: it only passes when a test fails.
const patience = 3 * time.Minute

func openBrowser(t *testing.T) *browser {
	t.Helper()
	require.Tool(t, "chromium")
	fromBrowser, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, toBrowser, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.MkdirTemp("", "flame-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--window-size=1224,800", "--hide-scrollbars", "--remote-debugging-pipe", "--user-data-dir="+data)
	cmd.ExtraFiles = []*os.File{stdin, stdout} // descriptors 3 and 4, by contract
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	stdout.Close()
	b := &browser{t: t, write: toBrowser, replies: make(chan message, 1000)}
	go func() {
		defer close(b.replies)
		in := bufio.NewReader(fromBrowser)
		for {
			text, err := in.ReadBytes(0)
			if err != nil {
				return
			}
			var m message
			if json.Unmarshal(text[:len(text)-1], &m) == nil {
				b.replies <- m
			}
		}
	}()
	t.Cleanup(func() {
		toBrowser.Close()
		// The group is the browser and the processes that it started.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		fromBrowser.Close()
		os.RemoveAll(data)
	})
	var target struct{ TargetID, SessionID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.session = target.SessionID
	b.call("Page.enable", nil, nil)
	return b
}

// next returns the browser's next message.
func (b *browser) next() message {
	b.t.Helper()
	select {
	case m, ok := <-b.replies:
		if !ok {
			b.t.Fatal("chromium went away")
		}
		if m.Method == "Page.loadEventFired" {
			b.loads++
		}
		return m
	case <-time.After(patience):
		b.t.Fatalf("chromium said nothing for %v", patience)
	}
	panic("unreachable")
}

func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.id++
	request := map[string]any{"id": b.id, "method": method}
	if params != nil {
		request["params"] = params
	}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	text, err := json.Marshal(request)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.write.Write(append(text, 0)); err != nil {
		b.t.Fatal(err)
	}
	for {
		m := b.next()
		if m.ID != b.id {
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error)
		}
		if result != nil {
			if err := json.Unmarshal(m.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// open shows an address afresh.
func (b *browser) open(address string) {
	b.t.Helper()
	for _, a := range []string{"about:blank", address} { // a new fragment alone loads nothing
		before := b.loads
		b.call("Page.navigate", map[string]any{"url": a}, nil)
		for b.loads == before {
			b.next()
		}
	}
}

// eval runs JavaScript and decodes its value.
func eval[T any](b *browser, expression string) (value T) {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	if err := json.Unmarshal(r.Result.Value, &value); err != nil {
		b.t.Fatalf("%s: %s: %v", expression, r.Result.Value, err)
	}
	return value
}

// rect is where a frame is on the page.
type rect struct {
	X, Y, Width, Height float64
	Class, Text         string
}

// frame finds a frame by its exact name; there must be one at most.
func (b *browser) frame(name string) rect {
	b.t.Helper()
	found := eval[[]rect](b, fmt.Sprintf(`(() => {
		const wanted = %q, found = [];
		const labels = [...document.querySelectorAll(".labels text")].filter((t) => t.style.display !== "none").map((t) => [t.getBoundingClientRect(), t.textContent]);
		for (const r of document.querySelectorAll(".frames rect")) {
			if (r.querySelector("title").textContent.split("\n")[0] !== wanted) continue;
			const at = r.getBoundingClientRect();
			const label = labels.find(([l]) => l.left >= at.left && l.left <= at.left + 6 && l.top >= at.top - 2 && l.bottom <= at.bottom + 2);
			found.push({X: at.left, Y: at.top, Width: at.width, Height: at.height, Class: r.getAttribute("class") || "", Text: label ? label[1] : ""});
		}
		return found;
	})()`, name))
	if len(found) != 1 {
		b.t.Fatalf("%d frames are called %s", len(found), name)
	}
	return found[0]
}

func (b *browser) mouse(event string, x, y float64) {
	b.t.Helper()
	p := map[string]any{"type": event, "x": x, "y": y}
	if event != "mouseMoved" {
		p["button"], p["clickCount"] = "left", 1
	}
	b.call("Input.dispatchMouseEvent", p, nil)
}

func (b *browser) clickAt(r rect) {
	b.t.Helper()
	x, y := r.X+r.Width/2, r.Y+r.Height/2
	b.mouse("mouseMoved", x, y)
	b.mouse("mousePressed", x, y)
	b.mouse("mouseReleased", x, y)
}

func (b *browser) clickFrame(name string) {
	b.t.Helper()
	r := b.frame(name)
	if r.Width == 0 {
		b.t.Fatalf("%s is not there to be clicked", name)
	}
	b.clickAt(r)
}

func (b *browser) clickButton(class string) {
	b.t.Helper()
	r := eval[rect](b, fmt.Sprintf(`(() => { const r = document.querySelector("button.%s").getBoundingClientRect(); return {X: r.left, Y: r.top, Width: r.width, Height: r.height}; })()`, class))
	if r.Width == 0 {
		b.t.Fatalf("the button %s is not there to be clicked", class)
	}
	b.clickAt(r)
}

// press types a key that is not text; modifiers are DevTools' bits (2 is Ctrl).
func (b *browser) press(key string, code, modifiers int) {
	b.t.Helper()
	for _, event := range []string{"rawKeyDown", "keyUp"} {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": event, "key": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}, nil)
	}
}

func (b *browser) typeText(text string) {
	b.t.Helper()
	for _, c := range text {
		b.call("Input.dispatchKeyEvent", map[string]any{"type": "char", "text": string(c)}, nil)
	}
}

func (b *browser) text(selector string) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf(`document.querySelector(%q).textContent`, selector))
}

func (b *browser) address() string { b.t.Helper(); return eval[string](b, `location.href`) }

// settle waits until the page has dealt with a change of its address.
func (b *browser) settle(condition string) {
	b.t.Helper()
	deadline := time.Now().Add(patience)
	for !eval[bool](b, condition) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s did not come true; the address is %s", condition, b.address())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// matchedShare is the oracle for the matched percentage: the samples of all
// stacks with a matching frame, counted from the folded lines.
func matchedShare(t *testing.T, pattern, within string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/redis-set.folded")
	if err != nil {
		t.Fatal(err)
	}
	re := regexp.MustCompile(pattern)
	hit, total := 0, 0
	for line := range strings.Lines(string(text)) {
		var count int
		i := strings.LastIndexByte(line, ' ')
		fmt.Sscan(line[i:], &count)
		names := strings.Split(line[:i], ";")
		if within != "" && !strings.Contains(";"+line[:i]+";", ";"+within+";") {
			continue
		}
		total += count
		for _, name := range names {
			if re.MatchString(name) {
				hit += count
				break
			}
		}
	}
	return fmt.Sprintf("%.2f%%", 100*float64(hit)/float64(total))
}

func writeSVGFile(t *testing.T, stacks []Stack, opts SVGOptions) (address string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "flame.svg")
	if err := os.WriteFile(name, draw(t, stacks, opts), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + name
}

func near(a, b float64) bool { return a-b < 1.5 && b-a < 1.5 }

func TestBrowser(t *testing.T) {
	b := openBrowser(t)
	file := writeSVGFile(t, readFile(t, "testdata/redis-set.folded"), SVGOptions{Title: "redis-set", Palette: "io"})
	const full = 1200.0 // the window less its margins

	t.Run("zoom", func(t *testing.T) {
		b.t = t
		b.open(file)
		if title := eval[string](b, `document.title`); title != "redis-set" {
			t.Errorf("the window's title is %q", title)
		}
		if all := b.frame("all"); !near(all.Width, full) {
			t.Fatalf("all is %g px wide, want %g", all.Width, full)
		}
		// readQueryFromClient has 338 of 605 samples, as the folded lines add up.
		if r := b.frame("readQueryFromClient"); !near(r.Width, full*338/605) {
			t.Errorf("readQueryFromClient is %g px wide, want %g", r.Width, full*338/605)
		}
		if r := b.frame("parseExtendedStringArgumentsOrReply"); r.Text != "" {
			t.Errorf("4 samples are too narrow for text, but hold %q", r.Text)
		}
		b.clickFrame("readQueryFromClient")
		for name, want := range map[string]float64{
			"readQueryFromClient": full, "callHandler": full, "aeMain": full, "all": full,
			"setKey": full * 120 / 338, "beforeSleep": 0, "aeApiPoll": 0, "ep_poll_[k]": 0, "clientsCron": 0,
		} {
			if r := b.frame(name); !near(r.Width, want) {
				t.Errorf("zoomed, %s is %g px wide, want %g", name, r.Width, want)
			}
		}
		if c := b.frame("callHandler").Class; !strings.Contains(c, "under") {
			t.Errorf("the ancestor's class is %q", c)
		}
		b.clickFrame("setCommand")
		if r := b.frame("parseExtendedStringArgumentsOrReply"); !near(r.Width, full*4/170) {
			t.Errorf("zoomed further, 4 of 170 samples are %g px wide", r.Width)
		}
		if r := b.frame("tryObjectEncoding"); r.Text != "tryObjectEncoding" {
			t.Errorf("there is room for tryObjectEncoding, but it says %q", r.Text)
		}
		// Back goes one step; an ancestor is a step of its own.
		eval[bool](b, `history.back(), true`)
		b.settle(`location.hash.includes("x=260")`)
		b.settle(`document.querySelector(".details").textContent !== ""`)
		if r := b.frame("readQueryFromClient"); !near(r.Width, full) {
			t.Errorf("after Back, readQueryFromClient is %g px wide", r.Width)
		}
		b.clickFrame("aeProcessEvents")
		if r := b.frame("beforeSleep"); !near(r.Width, full*172/605) {
			t.Errorf("unzoomed to an ancestor, beforeSleep is %g px wide, want %g", r.Width, full*172/605)
		}
		b.clickFrame("setCommand")
		b.clickButton("reset")
		if r := b.frame("readQueryFromClient"); !near(r.Width, full*338/605) {
			t.Errorf("after Reset zoom, readQueryFromClient is %g px wide", r.Width)
		}
	})

	t.Run("search", func(t *testing.T) {
		b.t = t
		b.open(file)
		b.press("f", 'F', 2)
		// siphash lies on dictFind: those samples count once.
		const pattern = "^dict|siphash|zfree"
		b.typeText(pattern)
		if got, want := b.text(".matched"), "matched "+matchedShare(t, pattern, ""); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		for name, want := range map[string]bool{"siphash": true, "dictSetVal": true, "setKey": false, "all": false} {
			if got := strings.Contains(b.frame(name).Class, "match"); got != want {
				t.Errorf("%s is matched: %v", name, got)
			}
		}
		if fill := eval[string](b, `getComputedStyle(document.querySelector(".match")).fill`); fill != "rgb(242, 139, 240)" {
			t.Errorf("matches are %s", fill)
		}
		b.clickFrame("processCommand")
		want := "matched " + matchedShare(t, pattern, "") + ", " + matchedShare(t, pattern, "processCommand") + " of what is shown"
		if got := b.text(".matched"); got != want {
			t.Errorf("zoomed: %q, want %q", got, want)
		}
		b.clickButton("clear")
		if got := b.text(".matched"); got != "" || eval[int](b, `document.querySelectorAll(".match").length`) != 0 {
			t.Errorf("cleared, but %q", got)
		}
		b.typeText("_\\[k\\]$") // Clear leaves the field ready for the next search
		if got, want := b.text(".matched"), "matched "+matchedShare(t, `_\[k\]$`, ""); !strings.HasPrefix(got, want) {
			t.Errorf("kernel frames: %q, want %q", got, want)
		}
		b.clickButton("clear")
		b.typeText("(")
		if got := b.text(".matched"); got != "not a regular expression" {
			t.Errorf("a broken expression: %q", got)
		}
		b.press("Escape", 27, 0)
		b.press("f", 'F', 2)
		b.typeText("SETCOMMAND")
		if got := b.text(".matched"); got != "matched 0.00%" {
			t.Errorf("capitals were asked for: %q", got)
		}
		b.clickButton("clear")
		b.typeText("setcommand")
		if got, want := b.text(".matched"), "matched "+matchedShare(t, "setCommand", ""); got != want {
			t.Errorf("capitals were not asked for: %q, want %q", got, want)
		}
		b.press("Escape", 27, 0)
		if got := b.text(".matched"); got != "" || strings.Contains(b.address(), "s=") {
			t.Errorf("Esc left %q at %s", got, b.address())
		}
	})

	t.Run("address", func(t *testing.T) {
		b.t = t
		b.open(file)
		b.clickFrame("readQueryFromClient")
		b.press("f", 'F', 2)
		b.typeText("zfree|&#'")
		link := b.address()
		matched := b.text(".matched")
		svg, err := os.ReadFile(strings.TrimPrefix(file, "file://"))
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "image/svg+xml")
			w.Write(svg)
		}))
		defer server.Close()
		_, fragment, _ := strings.Cut(link, "#")
		for _, address := range []string{link, server.URL + "/#" + fragment, server.URL + "/?" + fragment} {
			b.open(address)
			if r := b.frame("readQueryFromClient"); !near(r.Width, full) {
				t.Errorf("%s: readQueryFromClient is %g px wide", address, r.Width)
			}
			if got := b.text(".matched"); got != matched || got == "" {
				t.Errorf("%s: %q, want %q", address, got, matched)
			}
			if got := eval[string](b, `document.querySelector("input").value`); got != "zfree|&#'" {
				t.Errorf("%s: the field holds %q", address, got)
			}
		}
		b.press("Escape", 27, 0)
		if r := b.frame("readQueryFromClient"); !near(r.Width, full*338/605) {
			t.Errorf("after Esc, readQueryFromClient is %g px wide", r.Width)
		}
		for _, broken := range []string{"#x=1e999&d=-1&s=%5B", "#d=toString&x=__proto__", "#x=999999&d=3", "#%%%"} {
			b.open(file + broken)
			if r := b.frame("all"); !near(r.Width, full) || b.frame("setKey").Width == 0 {
				t.Errorf("%s: all is %g px wide", broken, r.Width)
			}
		}
	})

	t.Run("hover and keys", func(t *testing.T) {
		b.t = t
		b.open(file)
		r := b.frame("setCommand")
		b.mouse("mouseMoved", r.X+10, r.Y+8)
		if got, want := b.text(".details"), "setCommand — 170 samples, 28.10%"; got != want {
			t.Errorf("hovering: %q, want %q", got, want)
		}
		b.mouse("mouseMoved", 5, 5)
		b.press("ArrowUp", 38, 0) // from nothing to the root
		b.press("ArrowUp", 38, 0)
		b.press("ArrowUp", 38, 0)
		b.press("ArrowUp", 38, 0)
		b.press("ArrowUp", 38, 0)
		if got := b.text(".details"); !strings.HasPrefix(got, "connSocketEventHandler — ") {
			t.Errorf("the widest callee of aeProcessEvents: %q", got)
		}
		b.press("ArrowLeft", 37, 0)
		if got := b.text(".details"); !strings.HasPrefix(got, "beforeSleep — ") {
			t.Errorf("to its left: %q", got)
		}
		b.press("Enter", 13, 0)
		if r := b.frame("beforeSleep"); !near(r.Width, full) {
			t.Errorf("after Enter, beforeSleep is %g px wide", r.Width)
		}
		b.press("ArrowDown", 40, 0)
		if got := b.text(".details"); !strings.HasPrefix(got, "aeProcessEvents — ") {
			t.Errorf("below: %q", got)
		}
	})

	t.Run("scroll", func(t *testing.T) {
		b.t = t
		b.open(file)
		b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 1224, "height": 300, "deviceScaleFactor": 1, "mobile": false}, nil)
		defer b.call("Emulation.clearDeviceMetricsOverride", nil, nil)
		eval[bool](b, `window.scrollTo(0, 400), true`)
		b.settle(`window.scrollY === 400 && Math.abs(document.querySelector(".head").getBoundingClientRect().top) < 2`)
		b.clickFrame("aeProcessEvents") // under no part of the head
		b.settle(`document.querySelector(".details").textContent.startsWith("aeProcessEvents")`)
	})

	t.Run("width", func(t *testing.T) {
		b.t = t
		b.open(file)
		b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": 524, "height": 800, "deviceScaleFactor": 1, "mobile": false}, nil)
		defer b.call("Emulation.clearDeviceMetricsOverride", nil, nil)
		b.settle(`document.querySelector(".frames rect").getBoundingClientRect().width < 502`)
		over := eval[[]string](b, `[...document.querySelectorAll(".labels text")].filter((t) => t.style.display !== "none" && t.getBoundingClientRect().right > 512).map((t) => t.textContent)`)
		if len(over) > 0 {
			t.Errorf("text beyond the right edge: %q", over)
		}
	})

	// No label may be wider than its frame, whatever the characters.
	t.Run("hostile names", func(t *testing.T) {
		b.t = t
		var stacks []Stack
		for i, name := range []string{"</title><script>document.title='owned'</script>", "日本語日本語日本語日本語日本語日本語日本語日本語", "a\x00b\xff", "🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂",
			"'\"&lt;", strings.Repeat("generic[go.shape.int,", 400), "  spaces  ", "x (1 samples, 2%)"} {
			stacks = append(stacks, Stack{Frames: []Frame{{Name: name}, {Name: fmt.Sprint("child", i)}}, Count: 10})
		}
		b.open(writeSVGFile(t, stacks, SVGOptions{Title: "<b>&\"'\x01"}))
		if title := eval[string](b, `document.title`); title != "<b>&\"'\ufffd" {
			t.Errorf("the window's title is %q", title)
		}
		wide := eval[[]string](b, `(() => {
			const frames = [...document.querySelectorAll(".frames rect")].map((r) => r.getBoundingClientRect());
			return [...document.querySelectorAll(".labels text")].filter((t) => {
				const b = t.getBoundingClientRect();
				return !frames.some((f) => f.left <= b.left && f.right >= b.right - 1 && f.top <= b.top + 3 && f.bottom >= b.bottom - 3);
			}).map((t) => t.textContent);
		})()`)
		if len(wide) > 0 {
			t.Errorf("wider than their frames: %q", wide)
		}
		b.clickFrame("child7")
		if r := b.frame("x (1 samples, 2%)"); !near(r.Width, full) {
			t.Errorf("the zoomed frame's caller is %g px wide", r.Width)
		}
	})

	// Shown as a picture, as in a README, no script runs: everything but the
	// tools must be there. Chromium is told to run none at all.
	t.Run("no script", func(t *testing.T) {
		b.t = t
		b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil)
		defer b.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": false}, nil)
		b.open(file)
		if n := eval[int](b, `document.querySelectorAll("foreignObject").length`); n != 0 {
			t.Fatal("the script ran")
		}
		if r := b.frame("setCommand"); r.Text != "setCommand" || r.Width < 300 {
			t.Errorf("setCommand is %+v", r)
		}
	})

	t.Run("large", func(t *testing.T) {
		b.t = t
		address := writeSVGFile(t, bigProfile(20_000, 40), SVGOptions{MinWidth: 0.05})
		start := time.Now()
		b.open(address)
		n := eval[int](b, `document.querySelectorAll(".frames rect").length`)
		loaded := time.Since(start)
		ms := eval[float64](b, `(() => { const start = performance.now(); document.querySelectorAll(".frames rect")[5].dispatchEvent(new MouseEvent("click", {bubbles: true})); return performance.now() - start; })()`)
		t.Logf("%d frames: opened in %v, zoomed in %.0f ms", n, loaded, ms)
		if n < 5000 {
			t.Errorf("only %d frames: no test of size", n)
		}
	})
}

// Screenshots for the eye, when FLAME_SHOTS names a directory for them.
func TestShots(t *testing.T) {
	dir := os.Getenv("FLAME_SHOTS")
	if dir == "" {
		t.Skip("FLAME_SHOTS is not set")
	}
	b := openBrowser(t)
	before, after := readFile(t, "testdata/redis-set.folded"), readFile(t, "testdata/redis-set-after.folded")
	for name, stacks := range map[string][]Stack{"io": before, "hot": before, "mem": before, "go": before, "diff": Diff(before, after)} {
		address := writeSVGFile(t, stacks, SVGOptions{Title: "redis-set", Subtitle: "99 Hz, 7 s", Palette: name})
		for state, fragment := range map[string]string{"": "", "-zoomed": "#x=260&d=6&s=" + url.QueryEscape("dict|zfree")} {
			for _, scheme := range []string{"light", "dark"} {
				b.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil)
				b.open(address + fragment)
				var shot struct{ Data []byte }
				b.call("Page.captureScreenshot", nil, &shot)
				if len(shot.Data) == 0 {
					t.Fatal(errors.New("an empty screenshot"))
				}
				if err := os.WriteFile(filepath.Join(dir, name+state+"-"+scheme+".png"), shot.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
