package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/redscope/redscope/flame"
)

func runFlame(_ context.Context, args []string) error {
	fs := newFlags("flame", "IN [--by LABELS] [--command NAMES] [-o flame.svg] [--folded FILE] [--pprof FILE]", `
  redscope flame stacks.folded -o flame.svg
  redscope flame profile.pb.gz --command get -o get.svg
  redscope flame profile.pb.gz --by command,phase
  redscope flame profile.pb.gz --palette io --title redis-set
  perf script | stackcollapse-perf.pl | redscope flame - -o flame.svg

IN holds folded stacks or a pprof profile, gzipped or not; - is standard input.
`)
	var g graph
	var l labels
	l.flags(fs, "draw the samples of these commands alone: `NAMES`, as get or get,set or '(read)'")
	g.flags(fs, "flame.svg", true)
	sampleType := fs.String("type", "", "which `VALUE` of a pprof profile to draw, as alloc_space; empty is its default")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if err := l.parse(); err != nil {
		return err
	}
	if len(operands) != 1 {
		return usagef("give one file to draw")
	}
	profile, err := readProfile(operands[0], *sampleType)
	if err != nil {
		return err
	}
	if profile.Stacks, err = keep(profile.Stacks, l.commands, operands[0]); err != nil {
		return err
	}
	stacks, err := l.group(profile.Stacks, operands[0])
	if err != nil {
		return err
	}
	if err := g.open(); err != nil {
		return err
	}
	defer g.close()
	return g.write(stacks, profile, flame.SVGOptions{Subtitle: l.command, CountName: countName(profile)})
}

func runDiff(_ context.Context, args []string) error {
	fs := newFlags("diff", "A [B] [--command NAMES] [--by LABELS] [-o diff.svg]", `
  redscope diff before.folded after.folded -o diff.svg
  redscope diff before.pb.gz after.pb.gz --type alloc_space
  redscope diff before.pb.gz after.pb.gz --command get
  redscope diff profile.pb.gz --command lpush,rpush

Draws B, coloured by how each function's share changed since A. The two may have
been recorded for different lengths of time. Of one profile, two commands are
compared: the second with the first.
`)
	var g graph
	var l labels
	l.flags(fs, "of two profiles, compare the samples of these commands alone; of one, compare the second with the first: `NAMES`, as get,set")
	g.flags(fs, "diff.svg", false)
	sampleType := fs.String("type", "", "which `VALUE` of pprof profiles to compare; empty is their default")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if err := l.parse(); err != nil {
		return err
	}
	one := len(operands) == 1
	if n := len(operands); n != 2 && !one {
		return usagef("give two files to compare, or one with --command GET,SET")
	}
	if one && len(l.commands) != 2 {
		return usagef("to compare one file with itself, name two commands: --command GET,SET")
	}
	files, commands := operands, [][]string{l.commands, l.commands}
	title := filepath.Base(operands[0]) + " → " + filepath.Base(operands[len(operands)-1])
	subtitle := l.command
	if one {
		files, commands = []string{operands[0], operands[0]}, [][]string{l.commands[:1], l.commands[1:]}
		title, subtitle = l.commands[0]+" → "+l.commands[1], filepath.Base(operands[0])
	}
	var sides [2][]flame.Stack
	var profile *flame.Profile
	for i, file := range files {
		if i == 0 || !one { // standard input can be read once
			if profile, err = readProfile(file, *sampleType); err != nil {
				return err
			}
		}
		if sides[i], err = keep(profile.Stacks, commands[i], file); err != nil {
			return err
		}
		if sides[i], err = l.group(sides[i], file); err != nil {
			return err
		}
	}
	if err := g.open(); err != nil {
		return err
	}
	defer g.close()
	if g.title == "" {
		g.title = title
	}
	return g.write(flame.Diff(sides[0], sides[1]), nil, flame.SVGOptions{Subtitle: subtitle, CountName: countName(profile)})
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
