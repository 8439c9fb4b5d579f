package main

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is report.json: what was done, on what, and what came out.
type report struct {
	Scenario scenarioReport `json:"scenario"`
	Started  time.Time      `json:"started"`
	// Failure says why the run did not end as it should; empty when it did.
	Failure    string             `json:"failure,omitempty"`
	Loadgen    string             `json:"loadgen_version"`
	Server     serverReport       `json:"server"`
	Machine    machine            `json:"machine"`
	Requests   int64              `json:"requests"` // answered
	Errors     int64              `json:"errors"`
	FirstError string             `json:"first_error,omitempty"`
	Seconds    float64            `json:"seconds"`
	Throughput float64            `json:"requests_per_second"`
	LatencyMS  map[string]float64 `json:"latency_ms"`
	ClientCPU  float64            `json:"loadgen_cpu_seconds"`
	Profile    profileReport      `json:"profile"`
	Verified   *verification      `json:"verified,omitempty"`
	Files      []string           `json:"files"`
}

type scenarioReport struct {
	Name     string   `json:"name"`
	Command  []string `json:"command"`
	First    string   `json:"first_value"`
	Last     string   `json:"last_value"`
	Requests int64    `json:"requests"` // to be sent
	Clients  int      `json:"clients"`
	Pipeline int      `json:"pipeline"`
}

type serverReport struct {
	Command      []string `json:"command"`
	Version      string   `json:"version"`
	PID          int      `json:"pid"`
	CPUSeconds   float64  `json:"cpu_seconds"` // during the load
	CPUMicros    float64  `json:"cpu_us_per_request"`
	ResidentSize int64    `json:"rss_bytes"` // at the end of the load
}

type profileReport struct {
	// Source is "ebpf", "pprof" (the server's own CPU profile) or "none".
	Source    string `json:"source"`
	Note      string `json:"note,omitempty"` // what is missing, or why it is not ebpf
	Frequency int    `json:"frequency_hz,omitempty"`
	Samples   int64  `json:"samples"`
	Lost      uint64 `json:"lost"`
}

// verification compares what was sent with what the server says it has.
type verification struct {
	Calls     int64  `json:"set_calls"`
	Keys      string `json:"dbsize"`
	LastValue string `json:"last_value"`
	OK        bool   `json:"ok"`
}

type machine struct {
	Kernel string `json:"kernel"`
	Arch   string `json:"arch"`
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Memory int64  `json:"memory_bytes"`
}

func thisMachine() machine {
	m := machine{Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		m.Kernel = unix.ByteSliceToString(uts.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit)
	}
	// Absent on arm64, where the kernel gives numbers only.
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	return m
}

// version names the build: the module's version, the commit when known, and Go's.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return runtime.Version()
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(v, s.Value[:min(12, len(s.Value))]) {
			v += " " + s.Value
		}
	}
	return strings.TrimSpace(v + " " + info.GoVersion)
}

// lastValue is the value of request n-1 when the first is start, in start's width.
func lastValue(start string, n int64) string {
	v, err := strconv.ParseInt(start, 10, 64)
	if err != nil {
		return ""
	}
	s := strconv.FormatInt(v+n-1, 10)
	return strings.Repeat("0", max(0, len(start)-len(s))) + s
}
