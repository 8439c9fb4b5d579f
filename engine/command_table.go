package engine

import (
	"encoding/binary"
	"reflect"
	"runtime"
	"strings"

	"github.com/redscope/redscope/engine/probe"
)

// commandTable is the set of commands of one server. After
// populateCommandTable only the statistics in the rows change.
type commandTable struct {
	rows  []*command // top-level commands, in the order of commandRows
	index commandIndex
	byID  []*command // with subcommands, each container followed by its own
	names []string   // by id, as CommandName returns them
}

// populateCommandTable builds the command table and derives what rows leave
// out: ids, implied ACL categories, and the key positions told to old clients.
func (s *Server) populateCommandTable() {
	t := &s.commands
	*t = commandTable{rows: commandRows()}
	t.index = newCommandIndex(t.rows)
	for _, cmd := range t.rows {
		t.add(cmd, cmd.name)
		cmd.subIndex = newCommandIndex(cmd.subcommands)
		for _, sub := range cmd.subcommands {
			t.add(sub, cmd.name+"|"+sub.name)
		}
	}
}

func (t *commandTable) add(cmd *command, fullName string) {
	cmd.id = len(t.byID)
	cmd.fullName = fullName
	cmd.setImplicitACLCategories()
	cmd.populateLegacyKeys()
	cmd.mark = probe.RunningMark(cmd.id, cmd.legacyKeys.index)
	t.byID = append(t.byID, cmd)
	t.names = append(t.names, strings.ToUpper(strings.Replace(fullName, "|", " ", 1)))
}

// setImplicitACLCategories adds the categories that follow from the flags, so
// that rows cannot contradict them.
func (cmd *command) setImplicitACLCategories() {
	if cmd.flags&cmdWrite != 0 {
		cmd.acl |= aclWrite
	}
	if cmd.flags&cmdReadonly != 0 && cmd.acl&aclScripting == 0 {
		cmd.acl |= aclRead
	}
	if cmd.flags&cmdAdmin != 0 {
		cmd.acl |= aclAdmin | aclDangerous
	}
	if cmd.flags&cmdPubSub != 0 {
		cmd.acl |= aclPubsub
	}
	if cmd.flags&cmdBlocking != 0 {
		cmd.acl |= aclBlocking
	}
	if cmd.flags&cmdFast != 0 {
		cmd.acl |= aclFast
	}
	if cmd.acl&aclFast == 0 {
		cmd.acl |= aclSlow
	}
}

// populateLegacyKeys sums up the key specs as the one range that COMMAND told
// before Redis 7. What is not part of that range makes the command's keys
// movable.
func (cmd *command) populateLegacyKeys() {
	for _, spec := range cmd.keySpecs {
		if !spec.isRange() {
			cmd.flags |= cmdMovableKeys
		}
	}
	if len(cmd.keySpecs) == 1 && cmd.keySpecs[0].isRange() {
		cmd.legacyKeys = cmd.keySpecs[0]
		return
	}
	var legacy keySpec
	end := 0 // of the range so far; meaningless once open-ended
	for _, spec := range cmd.keySpecs {
		if !spec.isRange() {
			continue
		}
		if spec.keyStep != 1 || legacy.index != 0 && (legacy.lastKey < 0 || spec.index != end+1) {
			cmd.flags |= cmdMovableKeys
			return
		}
		if legacy.index == 0 {
			legacy = keySpec{index: spec.index, keyStep: 1}
		}
		if end = spec.index + spec.lastKey; spec.lastKey < 0 {
			legacy.lastKey = spec.lastKey
		} else {
			legacy.lastKey = end - legacy.index
		}
		cmd.legacyKeys = legacy
	}
}

// isRange reports whether the keys are where their places alone say.
func (spec *keySpec) isRange() bool { return !spec.unknown && !spec.keyNum && spec.keyword == "" }

// commandIndex finds commands by name: a table of linear probing, at most a
// quarter full, so that a lookup is one hash and mostly one comparison. A map would
// need a lower-cased copy of the name first.
type commandIndex struct {
	slots   []indexSlot // length a power of two, or 0
	longest int         // name, in bytes
}

type indexSlot struct {
	letters uint64 // packName of a name that is nothing but letters, else 0
	cmd     *command
}

func newCommandIndex(commands []*command) commandIndex {
	if len(commands) == 0 {
		return commandIndex{}
	}
	size := 1
	for size < 4*len(commands) {
		size *= 2
	}
	x := commandIndex{slots: make([]indexSlot, size)}
	for _, cmd := range commands {
		x.longest = max(x.longest, len(cmd.name))
		packed := packName([]byte(cmd.name))
		i := hashCommandName(packed) & (size - 1)
		for x.slots[i].cmd != nil {
			i = (i + 1) & (size - 1)
		}
		if x.slots[i].cmd = cmd; isLetters(cmd.name) && len(cmd.name) <= packedLetters {
			x.slots[i].letters = packed
		}
	}
	return x
}

func isLetters(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 'a' || r > 'z' }) < 0
}

func (x *commandIndex) find(name []byte) *command {
	if len(name) > x.longest || len(name) == 0 || len(x.slots) == 0 {
		return nil
	}
	packed, mask := packName(name), len(x.slots)-1
	for i := hashCommandName(packed) & mask; ; i = (i + 1) & mask {
		slot := &x.slots[i]
		if slot.letters == packed || slot.cmd == nil || equalFoldASCII(name, slot.cmd.name) {
			return slot.cmd
		}
	}
}

// packedLetters is the number of bytes of a name that packName keeps.
const packedLetters = 7

// packName packs a name into a word: its length, its first bytes, and for a long one
// its last ones mixed in, all with bit 5 set, which makes letters lower case. Another
// name than that of a command of up to packedLetters letters is packed otherwise.
func packName(name []byte) uint64 {
	const lower = 0x2020202020202020
	n, packed := len(name), uint64(0)
	switch {
	case n > packedLetters:
		packed = binary.LittleEndian.Uint64(name) ^ (binary.LittleEndian.Uint64(name[n-8:])|lower)<<3
	case n >= 4:
		packed = uint64(binary.LittleEndian.Uint32(name)) | uint64(binary.LittleEndian.Uint32(name[n-4:]))<<(8*(n-4))
	default:
		packed = uint64(name[0]) | uint64(name[n/2])<<(8*(n/2)) | uint64(name[n-1])<<(8*(n-1))
	}
	const kept = 1<<(8*packedLetters) - 1
	return (packed|lower)&kept | uint64(n)<<(8*packedLetters)
}

func hashCommandName(packed uint64) int { return int(packed * 0x9e3779b97f4a7c15 >> 40) }

// equalFoldASCII reports whether b is lower, which is in lower case, in any
// case. It knows ASCII only, as Redis does: bytes.EqualFold would take the
// Kelvin sign for a k.
func equalFoldASCII(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c == lower[i] {
			continue
		}
		if c < 'A' || c > 'Z' || c|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// lookupCommand finds the top-level command called name, in any case, or nil.
func (s *Server) lookupCommand(name []byte) *command {
	return s.commands.index.find(name)
}

// lookupCommandArgs finds the command that argv runs, the subcommand if argv[0]
// is a container and argv[1] is given, or nil. A container without a
// subcommand is found itself; its proc may be nil.
func (s *Server) lookupCommandArgs(argv [][]byte) *command {
	cmd := s.commands.index.find(argv[0])
	if cmd == nil || cmd.subcommands == nil || len(argv) == 1 {
		return cmd
	}
	return cmd.subIndex.find(argv[1])
}

// lookupCommandFullName finds a command by the name that COMMAND prints, as
// "get" or "config|get", in any case, or nil.
func (s *Server) lookupCommandFullName(name []byte) *command {
	for i, b := range name {
		if b != '|' {
			continue
		}
		if cmd := s.commands.index.find(name[:i]); cmd != nil {
			return cmd.subIndex.find(name[i+1:])
		}
		return nil
	}
	return s.commands.index.find(name)
}

// CommandName returns the name of the command with the given id, in upper case,
// a subcommand as "CONFIG GET"; "" if there is none, as for the -1 of a
// CommandEvent without a command. It may be called from any goroutine.
func (s *Server) CommandName(id int) string {
	if id < 0 || id >= len(s.commands.names) {
		return ""
	}
	return s.commands.names[id]
}

// FunctionName returns the name of the function that executes the command with
// the given id, as the ELF symbol table has it: "setCommand"; "" if there is
// none. It may be called from any goroutine.
func (s *Server) FunctionName(id int) string {
	if id < 0 || id >= len(s.commands.byID) || s.commands.byID[id].proc == nil {
		return ""
	}
	return runtime.FuncForPC(reflect.ValueOf(s.commands.byID[id].proc).Pointer()).Name()
}

// getKeysFromCommand appends to keys the keys among argv, whose length must
// satisfy cmd's arity, and appends nothing when argv cannot be a call of cmd.
// The specs are preferred to getKeys where they tell everything.
func getKeysFromCommand(cmd *command, argv [][]byte, keys []keyReference) []keyReference {
	all := true // the specs find all keys and know their flags
	for _, spec := range cmd.keySpecs {
		all = all && !spec.unknown && spec.flags&(keyVariableFlags|keyIncomplete) == 0
	}
	if all {
		none := len(keys)
		for i := range cmd.keySpecs {
			var ok bool
			if keys, ok = cmd.keySpecs[i].find(argv, keys); !ok {
				keys, all = keys[:none], false
				break
			}
		}
	}
	if !all && cmd.getKeys != nil {
		return cmd.getKeys(argv, keys)
	}
	return keys
}

// find appends the keys that spec finds in argv, and returns false when argv does
// not go with it.
func (spec *keySpec) find(argv [][]byte, keys []keyReference) ([]keyReference, bool) {
	first := spec.index
	if spec.keyword != "" {
		if first = spec.findKeyword(argv); first == 0 {
			return keys, true
		}
	}
	last := first + spec.lastKey
	switch {
	case spec.keyNum:
		if first+spec.keyNumIndex >= len(argv) {
			return keys, false
		}
		n, ok := parseInt64(argv[first+spec.keyNumIndex])
		if !ok || n < 0 || n > int64(len(argv)) {
			return keys, false
		}
		first += spec.firstKey
		last = first + (int(n)-1)*spec.keyStep
	case spec.lastKey < 0 && spec.limit != 0:
		last = first + (len(argv)-first)/spec.limit + spec.lastKey
	case spec.lastKey < 0:
		last = len(argv) + spec.lastKey
	}
	if last >= len(argv) || last < first {
		return keys, false
	}
	for pos := first; pos <= last; pos += spec.keyStep {
		keys = append(keys, keyReference{pos, spec.flags})
	}
	return keys, true
}

// findKeyword returns the place after the keyword, 0 if argv does not have it.
func (spec *keySpec) findKeyword(argv [][]byte) int {
	if spec.index < 0 {
		for i := len(argv) + spec.index; i > 1; i-- {
			if strings.EqualFold(string(argv[i]), spec.keyword) {
				return i + 1
			}
		}
		return 0
	}
	for i := spec.index; i < len(argv)-1; i++ {
		if strings.EqualFold(string(argv[i]), spec.keyword) {
			return i + 1
		}
	}
	return 0
}

// setGetKeys tells SET with GET, which reads the old value, from SET without.
func setGetKeys(argv [][]byte, keys []keyReference) []keyReference {
	for _, arg := range argv[3:] {
		if equalFoldASCII(arg, "get") {
			return append(keys, keyReference{1, keyRW | keyAccess | keyUpdate})
		}
	}
	return append(keys, keyReference{1, keyOW | keyUpdate})
}

// xreadGetKeys finds the keys of XREAD and XREADGROUP by going through the options:
// STREAMS may also be the name of a group or of a stream. Like Redis's, it does not
// say what is done with the keys.
func xreadGetKeys(argv [][]byte, keys []keyReference) []keyReference {
	for i := 1; i < len(argv); i++ {
		switch opt := argv[i]; {
		case equalFoldC(opt, "block"), equalFoldC(opt, "count"):
			i++
		case equalFoldC(opt, "group"):
			i += 2
		case equalFoldC(opt, "noack"):
		case equalFoldC(opt, "streams") && (len(argv)-i-1)%2 == 0:
			for pos := i + 1; pos <= i+(len(argv)-i-1)/2; pos++ {
				keys = append(keys, keyReference{pos: pos})
			}
			return keys
		default:
			return keys
		}
	}
	return keys
}
