package main

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/redscope/redscope/cmd/internal/capture"
	"github.com/redscope/redscope/flame"
)

// labels are the options that choose samples, and group them, by what they are for.
type labels struct {
	by, command string

	names    []string // of the labels to group by
	commands []string // to keep; none keeps all
}

func (l *labels) flags(fs *flag.FlagSet, command string) {
	fs.StringVar(&l.by, "by", "", "group by `LABELS`, a comma between them: command, phase, key")
	fs.StringVar(&l.command, "command", "", command)
}

// parse reads the options' values.
func (l *labels) parse() error {
	if l.by != "" {
		l.names = strings.Split(l.by, ",")
	}
	for i, name := range l.names {
		if !slices.Contains([]string{capture.LabelCommand, capture.LabelPhase, capture.LabelKey}, name) {
			return usagef("--by %s: there are command, phase and key, with a comma between two of them", l.by)
		}
		if slices.Contains(l.names[:i], name) {
			return usagef("--by %s: %s comes twice", l.by, name)
		}
	}
	if l.command != "" {
		l.commands = strings.Split(l.command, ",")
	}
	for i, c := range l.commands {
		if l.commands[i] = strings.TrimSpace(c); l.commands[i] == "" {
			return usagef("--command %q: a command is missing", l.command)
		}
	}
	return nil
}

// asked reports whether labels are needed.
func (l *labels) asked() bool { return l.by != "" || l.command != "" }

// keep leaves the samples of the commands that were asked for. The error, about the
// profile called name, says which there are.
func keep(stacks []flame.Stack, commands []string, name string) ([]flame.Stack, error) {
	if len(commands) == 0 {
		return stacks, nil
	}
	var kept []flame.Stack
	counts := map[string]int64{}
	for _, s := range stacks {
		command := s.Label(capture.LabelCommand)
		counts[command] += s.Count
		if slices.ContainsFunc(commands, func(c string) bool { return strings.EqualFold(c, command) }) {
			kept = append(kept, s)
		}
	}
	if len(kept) > 0 {
		return kept, nil
	}
	if delete(counts, ""); len(counts) == 0 {
		return nil, noLabels(name)
	}
	var there []string
	for c := range counts {
		there = append(there, c)
	}
	slices.SortFunc(there, func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	const most = 12
	more := ""
	if len(there) > most {
		there, more = there[:most], " and others"
	}
	return nil, fmt.Errorf("%s has no samples of %s; there are %s%s", name, strings.Join(commands, ", "), strings.Join(there, ", "), more)
}

// noLabels is the error for a profile in which nothing says what a sample is for.
func noLabels(name string) error {
	return fmt.Errorf("%s does not tell commands apart: that do profiles of a server which redscope record --pprof has written", name)
}

// group puts the samples' labels at the roots of their stacks.
func (l *labels) group(stacks []flame.Stack, name string) ([]flame.Stack, error) {
	if len(l.names) == 0 {
		return stacks, nil
	}
	labelled := false
	grouped := make([]flame.Stack, len(stacks))
	for i, s := range stacks {
		labelled = labelled || s.Label(capture.LabelCommand) != ""
		grouped[i] = s
		grouped[i].Frames = append(l.frames(s), s.Frames...)
	}
	if !labelled && len(stacks) > 0 {
		return nil, noLabels(name)
	}
	return grouped, nil
}

// frames are the labels of a stack as frames. What is between commands has one that
// says so, in place of each.
func (l *labels) frames(s flame.Stack) []flame.Frame {
	var frames []flame.Frame
	command := s.Label(capture.LabelCommand)
	between := strings.HasPrefix(command, "(") && command == "("+s.Label(capture.LabelPhase)+")"
	for _, name := range l.names {
		value := s.Label(name)
		switch {
		case between:
			value = command
		case value == "":
			value = "(no " + name + ")"
		}
		frames = append(frames, flame.Frame{Name: value})
		if between {
			break
		}
	}
	return frames
}
