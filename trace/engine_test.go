package trace

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/redscope/redscope/engine"
	"github.com/redscope/redscope/internal/port"
)

// A real engine, traced read by read: the server's commands and ours agree, and
// every span has its place.
func TestEngine(t *testing.T) {
	clearEnv(t)
	path := filepath.Join(t.TempDir(), "trace.json")
	var server *engine.Server
	tr, err := New(context.Background(), Options{
		File: path, Sample: 1, QueryText: true, Ring: 1 << 16,
		CommandName: func(i int) string { return server.CommandName(i) },
		Log:         func(line string) { t.Error(line) },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := engine.LoadConfig([]string{"--port", strconv.Itoa(port.Free(t))})
	if err != nil {
		t.Fatal(err)
	}
	if server, err = engine.New(cfg, tr.Hooks()); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		runtime.LockOSThread() // as Serve asks
		server.Serve()
		close(served)
	}()

	c, err := net.Dial("tcp", server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	send := func(replies int, s string) {
		t.Helper()
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
		for range replies {
			if _, err := r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	const batches, batch = 200, 16
	for i := range batches {
		send(batch, strings.Repeat(fmt.Sprintf("SET test:key:name %d\r\n", i), batch))
	}
	send(1, "INCR test:key:other\r\n")
	send(1, "SET test:key:name\r\n") // wrong number of arguments
	send(1, "NOSUCH x\r\n")
	const commands = batches*batch + 3
	c.Close()
	server.Shutdown()
	<-served
	shutdown(t, tr)

	s := tr.Stats()
	if s.Commands != commands || s.Dropped != 0 || s.Events != s.Kept || s.File.Delivered != s.Spans {
		t.Errorf("%+v, want %d commands", s, commands)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spans := allSpans(decodeOTLP(t, b).ResourceSpans)
	count := make(map[string]int)
	for _, s := range spans {
		parent := spans[string(s.ParentSpanId)]
		place := s.Name
		if parent != nil {
			place = parent.Name + " > " + place
			if s.StartTimeUnixNano < parent.StartTimeUnixNano || s.EndTimeUnixNano > parent.EndTimeUnixNano {
				t.Errorf("%s is not within its parent", place)
			}
		}
		count[place]++
		if d := time.Since(time.Unix(0, int64(s.StartTimeUnixNano))); d < 0 || d > 5*time.Minute {
			t.Fatalf("%s began %v ago", place, d)
		}
	}
	for place, want := range map[string]int{
		"readQueryFromClient > SET":            batches*batch + 1,
		"SET > call":                           batches * batch,
		"call > setCommand":                    batches * batch,
		"readQueryFromClient > INCR":           1,
		"call > incrCommand":                   1,
		"readQueryFromClient > processCommand": 1, // NOSUCH
	} {
		if count[place] != want {
			t.Errorf("%d times %s, want %d", count[place], place, want)
		}
	}
	if count["readQueryFromClient > writeToClient"] == 0 {
		t.Error("no writeToClient")
	}
	t.Logf("%v", count)
	for _, s := range spans {
		if s.Name == "SET" && s.Status.GetCode() == tracepb.Status_STATUS_CODE_UNSET {
			a := make(map[string]string)
			for _, kv := range s.Attributes {
				a[kv.Key] = kv.Value.GetStringValue()
			}
			if a["db.query.text"] != "SET test:key:name ?" || a["db.namespace"] != "0" ||
				a["network.peer.address"] != "127.0.0.1" || a["server.address"] != "127.0.0.1" {
				t.Errorf("attributes of SET: %v", a)
			}
			break
		}
	}
}
