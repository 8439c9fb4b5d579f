package bpf

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

func TestCalibrate(t *testing.T) {
	needEBPF(t)
	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	defer stats.Close()
	start := time.Now()
	prices, err := calibrate(costOrder)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v in %v", prices, time.Since(start))
}
