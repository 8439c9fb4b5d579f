package engine

// COMMAND and its subcommands: what a client can ask about the command table.

// Names of flag bits as they appear in replies, bit 0 first. A bit beyond the
// end of its list is not told to clients.
var (
	commandFlagNames = []string{
		"write", "readonly", "denyoom", "admin", "pubsub", "noscript", "blocking",
		"loading", "stale", "skip_monitor", "skip_slowlog", "asking", "fast",
		"no_auth", "may_replicate", "no_mandatory_keys", "no_async_loading",
		"no_multi", "movablekeys", "allow_busy",
	}
	aclCategoryNames = []string{
		"keyspace", "read", "write", "set", "sortedset", "list", "hash", "string",
		"bitmap", "hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow",
		"blocking", "dangerous", "connection", "transaction", "scripting",
	}
	keyFlagNames = []string{
		"RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "incomplete", "variable_flags",
	}
	docFlagNames = []string{"deprecated", "syscmd"}
	argTypeNames = [...]string{
		argString:    "string",
		argInteger:   "integer",
		argDouble:    "double",
		argKey:       "key",
		argPattern:   "pattern",
		argUnixTime:  "unix-time",
		argPureToken: "pure-token",
		argOneOf:     "oneof",
		argBlock:     "block",
	}
	argFlagNames = []string{"optional", "multiple", "multiple_token"}
)

// commandCommand is COMMAND: everything about every command.
func commandCommand(c *client) {
	addReplyArrayLen(c, len(c.srv.commands.rows))
	for _, cmd := range c.srv.commands.rows {
		addReplyCommandInfo(c, cmd)
	}
}

// commandCountCommand is COMMAND COUNT.
func commandCountCommand(c *client) {
	addReplyLongLong(c, int64(len(c.srv.commands.rows)))
}

// commandInfoCommand is COMMAND INFO [command-name ...].
func commandInfoCommand(c *client) {
	if len(c.argv) == 2 {
		commandCommand(c)
		return
	}
	addReplyArrayLen(c, len(c.argv)-2)
	for _, name := range c.argv[2:] {
		if cmd := c.srv.lookupCommandFullName(name); cmd != nil {
			addReplyCommandInfo(c, cmd)
		} else {
			addReplyNull(c)
		}
	}
}

// commandDocsCommand is COMMAND DOCS [command-name ...]. Unlike COMMAND INFO it
// passes over names that it does not know.
func commandDocsCommand(c *client) {
	commands := c.srv.commands.rows
	if len(c.argv) > 2 {
		commands = nil
		for _, name := range c.argv[2:] {
			if cmd := c.srv.lookupCommandFullName(name); cmd != nil {
				commands = append(commands, cmd)
			}
		}
	}
	addReplyMapLen(c, len(commands))
	for _, cmd := range commands {
		addReplyBulkString(c, cmd.fullName)
		addReplyCommandDocs(c, cmd)
	}
}

// commandListCommand is COMMAND LIST [FILTERBY MODULE|ACLCAT|PATTERN value].
func commandListCommand(c *client) {
	keep := func(*command) bool { return true }
	switch {
	case len(c.argv) == 2:
	case len(c.argv) == 5 && equalFoldASCII(c.argv[2], "filterby") && equalFoldASCII(c.argv[3], "module"):
		keep = func(*command) bool { return false } // there are no modules
	case len(c.argv) == 5 && equalFoldASCII(c.argv[2], "filterby") && equalFoldASCII(c.argv[3], "aclcat"):
		category := aclCategoryByName(c.argv[4])
		keep = func(cmd *command) bool { return cmd.acl&category != 0 }
	case len(c.argv) == 5 && equalFoldASCII(c.argv[2], "filterby") && equalFoldASCII(c.argv[3], "pattern"):
		keep = func(cmd *command) bool { return stringmatchlen(c.argv[4], []byte(cmd.fullName), true) }
	default:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	var names []string
	for _, cmd := range c.srv.commands.byID {
		if keep(cmd) {
			names = append(names, cmd.fullName)
		}
	}
	addReplyArrayLen(c, len(names))
	for _, name := range names {
		addReplyBulkString(c, name)
	}
}

// aclCategoryByName returns the category called name, in any case, or none.
func aclCategoryByName(name []byte) aclCategories {
	for bit, n := range aclCategoryNames {
		if equalFoldASCII(name, n) {
			return 1 << bit
		}
	}
	return 0
}

// commandGetKeysCommand is COMMAND GETKEYS command [argument ...].
func commandGetKeysCommand(c *client) {
	keys, ok := keysOfCommandInArguments(c)
	if !ok {
		return
	}
	addReplyArrayLen(c, len(keys))
	for _, key := range keys {
		addReplyBulk(c, c.argv[2+key.pos])
	}
}

// commandGetKeysAndFlagsCommand is COMMAND GETKEYSANDFLAGS command [argument ...].
func commandGetKeysAndFlagsCommand(c *client) {
	keys, ok := keysOfCommandInArguments(c)
	if !ok {
		return
	}
	addReplyArrayLen(c, len(keys))
	for _, key := range keys {
		addReplyArrayLen(c, 2)
		addReplyBulk(c, c.argv[2+key.pos])
		addReplyFlags(c, uint64(key.flags), keyFlagNames, "")
	}
}

// keysOfCommandInArguments returns the keys, as positions in c.argv[2:], of the
// command that the arguments of COMMAND GETKEYS spell out. When there is none
// it replies with an error and returns false.
func keysOfCommandInArguments(c *client) ([]keyReference, bool) {
	argv := c.argv[2:]
	cmd := c.srv.lookupCommandArgs(argv)
	switch {
	case cmd == nil:
		addReplyError(c, "Invalid command specified")
		return nil, false
	case len(cmd.keySpecs) == 0 && cmd.getKeys == nil:
		addReplyError(c, "The command has no key arguments")
		return nil, false
	case cmd.arity > 0 && cmd.arity != len(argv), len(argv) < -cmd.arity:
		addReplyError(c, "Invalid number of arguments specified for command")
		return nil, false
	}
	keys := getKeysFromCommand(cmd, argv, nil)
	if len(keys) == 0 && cmd.flags&cmdNoMandatoryKeys == 0 {
		addReplyError(c, "Invalid arguments specified for command")
		return nil, false
	}
	return keys, true
}

// commandHelpCommand is COMMAND HELP.
func commandHelpCommand(c *client) {
	addReplyHelp(c, []string{
		"(no subcommand)",
		"    Return details about all Redis commands.",
		"COUNT",
		"    Return the total number of commands in this Redis server.",
		"LIST",
		"    Return a list of all commands in this Redis server.",
		"INFO [<command-name> ...]",
		"    Return details about multiple Redis commands.",
		"    If no command names are given, documentation details for all",
		"    commands are returned.",
		"DOCS [<command-name> ...]",
		"    Return documentation details about multiple Redis commands.",
		"    If no command names are given, documentation details for all",
		"    commands are returned.",
		"GETKEYS <full-command>",
		"    Return the keys from a full Redis command.",
		"GETKEYSANDFLAGS <full-command>",
		"    Return the keys and the access flags from a full Redis command.",
	})
}

// addReplyFlags replies with the names of the bits that are set, as a set of
// status replies, each behind prefix.
func addReplyFlags(c *client, bits uint64, names []string, prefix string) {
	set := 0
	for bit := range names {
		set += int(bits >> bit & 1)
	}
	addReplySetLen(c, set)
	for bit, name := range names {
		if bits>>bit&1 != 0 {
			addReplyStatus(c, prefix+name)
		}
	}
}

// addReplyCommandInfo replies with a row as COMMAND INFO shows it.
func addReplyCommandInfo(c *client, cmd *command) {
	firstKey, lastKey := cmd.legacyKeys.index, cmd.legacyKeys.lastKey
	if lastKey >= 0 {
		lastKey += firstKey
	}
	addReplyArrayLen(c, 10)
	addReplyBulkString(c, cmd.fullName)
	addReplyLongLong(c, int64(cmd.arity))
	addReplyFlags(c, uint64(cmd.flags), commandFlagNames, "")
	addReplyLongLong(c, int64(firstKey))
	addReplyLongLong(c, int64(lastKey))
	addReplyLongLong(c, int64(cmd.legacyKeys.keyStep))
	addReplyFlags(c, uint64(cmd.acl), aclCategoryNames, "@")
	addReplySetLen(c, len(cmd.tips))
	for _, tip := range cmd.tips {
		addReplyBulkString(c, tip)
	}
	addReplySetLen(c, len(cmd.keySpecs))
	for _, spec := range cmd.keySpecs {
		addReplyKeySpec(c, spec)
	}
	if len(cmd.subcommands) == 0 {
		addReplySetLen(c, 0) // in RESP3 Redis sends an empty set, but a full array
		return
	}
	addReplyArrayLen(c, len(cmd.subcommands))
	for _, sub := range cmd.subcommands {
		addReplyCommandInfo(c, sub)
	}
}

func addReplyKeySpec(c *client, spec keySpec) {
	if spec.notes == "" {
		addReplyMapLen(c, 3)
	} else {
		addReplyMapLen(c, 4)
		addReplyBulkString(c, "notes")
		addReplyBulkString(c, spec.notes)
	}
	addReplyBulkString(c, "flags")
	addReplyFlags(c, uint64(spec.flags), keyFlagNames, "")

	addReplyBulkString(c, "begin_search")
	switch {
	case spec.unknown:
		addReplyKeySpecPart(c, "unknown")
	case spec.keyword != "":
		addReplyKeySpecPart(c, "keyword", keySpecText("keyword", spec.keyword), keySpecNumber("startfrom", spec.index))
	default:
		addReplyKeySpecPart(c, "index", keySpecNumber("index", spec.index))
	}

	addReplyBulkString(c, "find_keys")
	switch {
	case spec.unknown:
		addReplyKeySpecPart(c, "unknown")
	case spec.keyNum:
		addReplyKeySpecPart(c, "keynum", keySpecNumber("keynumidx", spec.keyNumIndex),
			keySpecNumber("firstkey", spec.firstKey), keySpecNumber("keystep", spec.keyStep))
	default:
		addReplyKeySpecPart(c, "range", keySpecNumber("lastkey", spec.lastKey),
			keySpecNumber("keystep", spec.keyStep), keySpecNumber("limit", spec.limit))
	}
}

// keySpecField is a field of a key spec's reply: a text or, if that is empty, a
// number.
type keySpecField struct {
	name   string
	text   string
	number int
}

func keySpecText(name, text string) keySpecField    { return keySpecField{name: name, text: text} }
func keySpecNumber(name string, n int) keySpecField { return keySpecField{name: name, number: n} }

func addReplyKeySpecPart(c *client, kind string, fields ...keySpecField) {
	addReplyMapLen(c, 2)
	addReplyBulkString(c, "type")
	addReplyBulkString(c, kind)
	addReplyBulkString(c, "spec")
	addReplyMapLen(c, len(fields))
	for _, f := range fields {
		addReplyBulkString(c, f.name)
		if f.text != "" {
			addReplyBulkString(c, f.text)
		} else {
			addReplyLongLong(c, int64(f.number))
		}
	}
}

// addReplyCommandDocs replies with a row as COMMAND DOCS shows it.
func addReplyCommandDocs(c *client, cmd *command) {
	fields := 3 // summary, since and group are always there
	for _, present := range []bool{
		cmd.complexity != "", cmd.doc != 0, cmd.deprecatedSince != "", cmd.replacedBy != "",
		cmd.history != nil, cmd.args != nil, cmd.subcommands != nil,
	} {
		if present {
			fields++
		}
	}
	addReplyMapLen(c, fields)
	addReplyField(c, "summary", cmd.summary)
	addReplyField(c, "since", cmd.since)
	addReplyField(c, "group", string(cmd.group))
	addReplyField(c, "complexity", cmd.complexity)
	if cmd.doc != 0 {
		addReplyBulkString(c, "doc_flags")
		addReplyFlags(c, uint64(cmd.doc), docFlagNames, "")
	}
	addReplyField(c, "deprecated_since", cmd.deprecatedSince)
	addReplyField(c, "replaced_by", cmd.replacedBy)
	if cmd.history != nil {
		addReplyBulkString(c, "history")
		addReplySetLen(c, len(cmd.history))
		for _, h := range cmd.history {
			addReplyArrayLen(c, 2)
			addReplyBulkString(c, h.since)
			addReplyBulkString(c, h.change)
		}
	}
	if cmd.args != nil {
		addReplyBulkString(c, "arguments")
		addReplyCommandArgs(c, cmd.args)
	}
	if cmd.subcommands != nil {
		addReplyBulkString(c, "subcommands")
		addReplyMapLen(c, len(cmd.subcommands))
		for _, sub := range cmd.subcommands {
			addReplyBulkString(c, sub.fullName)
			addReplyCommandDocs(c, sub)
		}
	}
}

func addReplyCommandArgs(c *client, args []commandArg) {
	addReplyArrayLen(c, len(args))
	for _, arg := range args {
		fields := 2 // name and type are always there
		for _, present := range []bool{
			arg.hasKeySpec(), arg.token != "", arg.since != "",
			arg.deprecatedSince != "", arg.flags != 0, arg.args != nil,
		} {
			if present {
				fields++
			}
		}
		addReplyMapLen(c, fields)
		addReplyField(c, "name", arg.name)
		addReplyField(c, "type", argTypeNames[arg.typ])
		if arg.hasKeySpec() {
			addReplyBulkString(c, "key_spec_index")
			addReplyLongLong(c, int64(arg.keySpec))
		}
		addReplyField(c, "token", arg.token)
		addReplyField(c, "since", arg.since)
		addReplyField(c, "deprecated_since", arg.deprecatedSince)
		if arg.flags != 0 {
			addReplyBulkString(c, "flags")
			addReplyFlags(c, uint64(arg.flags), argFlagNames, "")
		}
		if arg.args != nil {
			addReplyBulkString(c, "arguments")
			addReplyCommandArgs(c, arg.args)
		}
	}
}

// addReplyField replies with an entry of a map, unless its value is empty.
func addReplyField(c *client, name, value string) {
	if value == "" {
		return
	}
	addReplyBulkString(c, name)
	addReplyBulkString(c, value)
}

// hasKeySpec reports whether the argument is a key, or, as a pattern of SORT, leads
// to some, so that it says which of the key specs is about it.
func (arg *commandArg) hasKeySpec() bool { return arg.typ == argKey || arg.keySpec > 0 }
