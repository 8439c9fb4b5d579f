package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/redscope/redscope/bpf"
)

func runUSDT(_ context.Context, args []string) error {
	fs := newFlags("usdt", "FILE", `
  redscope usdt bin/server
  bpftrace -l 'usdt:bin/server:*'
  bpftrace -e 'usdt:bin/server:redscope:command_done { @ns = hist(arg4); }'

Adds the notes to FILE by which other tools find the markers and what they carry:
bpftrace, bcc's tplist and trace, perf list sdt, gdb's info probes. The program in
it stays the same. A server that runs already has the old file: start it again.
`)
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) != 1 {
		return usagef("give the file of a server")
	}
	return addUSDT(operands[0])
}

// addUSDT puts a file with the notes in the place of the one at path, unless it
// has them.
func addUSDT(path string) error {
	// A link stays one.
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	old, err := os.ReadFile(real)
	if err != nil {
		return err
	}
	described, err := bpf.AddUSDT(old, path)
	if err != nil || bytes.Equal(described, old) {
		return err
	}
	out, err := create(real)
	if err != nil {
		return err
	}
	defer out.discard()
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := out.file.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	out.mode = info.Mode()
	return out.write(func(w io.Writer) error {
		_, err := w.Write(described)
		return err
	})
}
