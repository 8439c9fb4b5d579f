package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redscope/redscope/flame"
)

func runFlame(_ context.Context, args []string) error {
	fs := newFlags("flame", "IN [-o flame.svg] [--folded FILE] [--pprof FILE]", `
  redscope flame stacks.folded -o flame.svg
  redscope flame profile.pb.gz --palette io --title redis-set
  perf script | stackcollapse-perf.pl | redscope flame - -o flame.svg

IN holds folded stacks or a pprof profile, gzipped or not; - is standard input.
`)
	var g graph
	g.flags(fs, "flame.svg", true)
	sampleType := fs.String("type", "", "which `VALUE` of a pprof profile to draw, as alloc_space; empty is its default")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) != 1 {
		return usagef("give one file to draw")
	}
	profile, err := readProfile(operands[0], *sampleType)
	if err != nil {
		return err
	}
	if err := g.open(); err != nil {
		return err
	}
	defer g.close()
	return g.write(profile.Stacks, profile, flame.SVGOptions{CountName: countName(profile)})
}

func runDiff(_ context.Context, args []string) error {
	fs := newFlags("diff", "A B [-o diff.svg]", `
  redscope diff before.folded after.folded -o diff.svg
  redscope diff before.pb.gz after.pb.gz --type alloc_space

Draws B, coloured by how each function's share changed since A. The two may have
been recorded for different lengths of time.
`)
	var g graph
	g.flags(fs, "diff.svg", false)
	sampleType := fs.String("type", "", "which `VALUE` of pprof profiles to compare; empty is their default")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) != 2 {
		return usagef("give two files to compare")
	}
	before, err := readProfile(operands[0], *sampleType)
	if err != nil {
		return err
	}
	after, err := readProfile(operands[1], *sampleType)
	if err != nil {
		return err
	}
	if err := g.open(); err != nil {
		return err
	}
	defer g.close()
	if g.title == "" {
		g.title = filepath.Base(operands[0]) + " → " + filepath.Base(operands[1])
	}
	return g.write(flame.Diff(before.Stacks, after.Stacks), nil, flame.SVGOptions{CountName: countName(after)})
}

// readProfile reads folded stacks or a pprof profile from the file at path, or
// from standard input for "-".
func readProfile(path, sampleType string) (*flame.Profile, error) {
	in := os.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	profile, err := flame.Read(in, sampleType)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return profile, nil
}

// countName is the unit that a profile counts in, for the drawing.
func countName(p *flame.Profile) string {
	if p.Unit == "" || p.Unit == "count" {
		return p.SampleType
	}
	return p.Unit
}
