package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// outDir is where a run leaves its files. A file appears under its name when
// it is complete, never before.
type outDir string

// The files of a run.
const (
	fileFlame  = "flame.svg"
	fileFolded = "stacks.folded"
	filePprof  = "profile.pb.gz"
	fileStack  = "stack.txt"
	fileTrace  = "trace.json"
	fileReport = "report.json"
)

var outFiles = []string{fileFlame, fileFolded, filePprof, fileStack, fileTrace, fileReport}

// prepare makes the directory and shows that it can be written to.
func (d outDir) prepare() error {
	if err := os.MkdirAll(string(d), 0o755); err != nil {
		return fmt.Errorf("cannot make the directory for the results: %w", err)
	}
	probe := d.temp("probe")
	if err := os.WriteFile(probe, nil, 0o644); err != nil {
		return fmt.Errorf("cannot write to the directory for the results: %w", err)
	}
	if err := os.Remove(probe); err != nil {
		return err
	}
	d.clean()
	return nil
}

// removeOld removes the files of an earlier run, lest they be taken for this
// one's.
func (d outDir) removeOld() error {
	for _, name := range outFiles {
		if err := os.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the results of an earlier run: %w", err)
		}
	}
	return nil
}

func (d outDir) path(name string) string { return filepath.Join(string(d), name) }

// temp is the name of a file that is not complete. It is the same in each run,
// so that what a killed run left is replaced by the next.
func (d outDir) temp(name string) string { return filepath.Join(string(d), "."+name+".part") }

// write makes a file of what content writes.
func (d outDir) write(name string, content func(io.Writer) error) error {
	f, err := os.Create(d.temp(name))
	if err != nil {
		return writeError(d.path(name), err)
	}
	w := bufio.NewWriter(f)
	err = content(w)
	if err == nil {
		err = w.Flush()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(d.temp(name))
		return writeError(d.path(name), err)
	}
	return d.complete(name)
}

// complete gives a file that was written under its temporary name its own.
func (d outDir) complete(name string) error {
	if err := os.Rename(d.temp(name), d.path(name)); err != nil {
		return writeError(d.path(name), err)
	}
	return nil
}

// clean removes what was not completed.
func (d outDir) clean() {
	for _, name := range outFiles {
		os.Remove(d.temp(name))
	}
	os.Remove(d.temp(ownProfile))
}

// writeError words a failed write. The cause goes without the path of the
// temporary file, which is gone.
func writeError(path string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	hint := ""
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT:
		hint = ": free some space, or choose another place with loadgen run --out"
	case syscall.EFBIG:
		hint = ": the limit on file sizes (ulimit -f) is too low"
	}
	return fmt.Errorf("cannot write %s: %w%s", path, err, hint)
}
