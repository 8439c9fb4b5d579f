package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/redscope/redscope/flame"
)

// graph holds the options that every command which draws has, and its outputs.
type graph struct {
	svg, folded, pprof string
	title, palette     string
	outputs            []*output
}

// flags adds the options; svg is the default of -o, and files says whether there are outputs besides the SVG.
func (g *graph) flags(fs *flag.FlagSet, svg string, files bool) {
	fs.StringVar(&g.svg, "o", svg, "write the flame graph to `FILE`; - is standard output, empty is none")
	if files {
		fs.StringVar(&g.folded, "folded", "", "write folded stacks to `FILE`, for flamegraph.pl and the like; - is standard output")
		fs.StringVar(&g.pprof, "pprof", "", "write a profile for go tool pprof to `FILE`")
	}
	fs.StringVar(&g.title, "title", "", "`TEXT` above the flame graph")
	fs.StringVar(&g.palette, "palette", "", "colours of the flame graph: `NAME` is one of "+strings.Join(flame.Palettes(), ", "))
}

// open opens the outputs that were asked for; close must be called after.
func (g *graph) open() error {
	if g.svg == "" && g.folded == "" && g.pprof == "" {
		return usagef("nothing to write: give -o, --folded or --pprof")
	}
	stdout := 0
	for _, path := range []string{g.svg, g.folded, g.pprof} {
		if path == "-" {
			stdout++
		}
	}
	if stdout > 1 {
		return usagef("only one output can go to standard output")
	}
	if g.palette != "" && !slices.Contains(flame.Palettes(), g.palette) {
		return usagef("there is no palette %q; there are %s", g.palette, strings.Join(flame.Palettes(), ", "))
	}
	for _, path := range []string{g.svg, g.folded, g.pprof} {
		if path == "" {
			g.outputs = append(g.outputs, nil)
			continue
		}
		out, err := create(path)
		if err != nil {
			return err
		}
		g.outputs = append(g.outputs, out)
	}
	return nil
}

// close discards what was not written.
func (g *graph) close() {
	for _, o := range g.outputs {
		if o != nil {
			o.discard()
		}
	}
}

// write writes all outputs and reports each file on standard error.
func (g *graph) write(stacks []flame.Stack, profile *flame.Profile, opts flame.SVGOptions) error {
	opts.Title, opts.Palette = g.title, g.palette
	for i, write := range []func(io.Writer) error{
		func(w io.Writer) error { return flame.WriteSVG(w, stacks, opts) },
		func(w io.Writer) error { return flame.WriteFolded(w, stacks) },
		func(w io.Writer) error { return flame.WritePprof(w, profile) },
	} {
		o := g.outputs[i]
		if o == nil {
			continue
		}
		if err := o.write(write); err != nil {
			return fmt.Errorf("writing %s: %w", o.path, err)
		}
		if o.path != "-" {
			fmt.Fprintln(os.Stderr, "wrote", o.path)
		}
	}
	return nil
}
