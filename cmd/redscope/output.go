package main

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// output is a file that appears under its name when it is complete, so that a
// failure neither leaves half a file nor destroys an older one. The name "-" is
// standard output.
type output struct {
	path string
	file *os.File
	temp bool // file is not path yet
	mode fs.FileMode
}

// create opens an output. It is done before the work whose result goes there:
// a directory that does not exist is better known before than after.
func create(path string) (*output, error) {
	if path == "-" {
		return &output{path: path, file: os.Stdout}, nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		// A device or a pipe, as /dev/null, must stay what it is.
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &output{path: path, file: f}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		// Its text names the temporary file; the user knows the directory.
		var pathError *os.PathError
		if errors.As(err, &pathError) {
			pathError.Op, pathError.Path = "create", path
		}
		return nil, err
	}
	// CreateTemp's files are for their owner alone; results are to be looked at.
	return &output{path: path, file: f, temp: true, mode: 0o644}, nil
}

// write fills the output by f, and puts it in place.
func (o *output) write(f func(io.Writer) error) error {
	w := bufio.NewWriter(o.file)
	if err := f(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if o.file == os.Stdout {
		return nil
	}
	if !o.temp {
		return o.file.Close()
	}
	if err := errors.Join(o.file.Chmod(o.mode), o.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(o.file.Name(), o.path); err != nil {
		return err
	}
	o.temp = false
	return nil
}

// discard removes what write did not put in place.
func (o *output) discard() {
	if o.temp {
		o.file.Close()
		os.Remove(o.file.Name())
	}
}
