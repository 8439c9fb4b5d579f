package oracle

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redscope/redscope/internal/require"
)

const envForever = "ORACLE_TEST_FOREVER"

// TestForever runs in the process that TestDiesWithTheTest kills.
func TestForever(t *testing.T) {
	if os.Getenv(envForever) == "" {
		t.Skip("runs in a process of TestDiesWithTheTest")
	}
	for line := range strings.Lines(Start(t).Do("INFO", "server")) {
		if pid, ok := strings.CutPrefix(line, "process_id:"); ok {
			fmt.Println("pid", strings.TrimSpace(pid))
		}
	}
	select {}
}

func TestDiesWithTheTest(t *testing.T) {
	require.Tool(t, "redis")
	cmd := exec.Command(os.Args[0], "-test.run=^TestForever$")
	cmd.Env = append(os.Environ(), envForever+"=1", "TMPDIR="+t.TempDir())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	var pid int
	if _, scanErr := fmt.Sscanf(line, "pid %d\n", &pid); scanErr != nil {
		t.Fatalf("%q: %v, %v", line, scanErr, err)
	}
	// Dead, whether or not the process that inherited it has taken note.
	gone := func() bool {
		stat, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat"))
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	}
	for end := time.Now().Add(patience); !gone(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server was left running")
		}
	}
}
