package engine

import "slices"

// Every command is declared once, by a row in commands_<group>.go. COMMAND and
// its subcommands, key extraction, the checks of processCommand, CommandName and
// the symbol test all read the rows; nothing about a command is written anywhere
// else. The values are those that redis-server 7.0.15 reports by COMMAND INFO and
// COMMAND DOCS, and a test compares each field with a live one.

// command is one row of the command table, or one subcommand of a row.
type command struct {
	// What the path of a command reads, first, so that it shares cache lines.

	name  string        // lower case; of a subcommand, without its container
	proc  func(*client) // nil for a container that cannot run by itself (CONFIG)
	arity int           // arguments including the name; -n means n or more
	flags commandFlags
	id    int    // index for Server.CommandName, set by populateCommandTable
	mark  uint64 // of probe.RunningMark; derived

	// Statistics since the start or CONFIG RESETSTAT.

	nanoseconds   int64 // time spent in proc
	calls         int64
	rejectedCalls int64 // refused by a check before proc ran
	failedCalls   int64 // proc replied with an error
	latency       *latencyHistogram

	acl         aclCategories // a row holds what its flags do not imply; complete after populateCommandTable
	keySpecs    []keySpec
	legacyKeys  keySpec // what clients older than key specs are told; derived; index 0 means no keys
	getKeys     getKeysProc
	subcommands []*command
	subIndex    commandIndex
	fullName    string // as COMMAND prints it: "get", "config|get"

	// What COMMAND DOCS and COMMAND INFO tell.

	summary         string
	since           string // the Redis version that brought it
	group           commandGroup
	complexity      string
	doc             docFlags
	deprecatedSince string
	replacedBy      string
	history         []historyEntry
	tips            []string // for clients and proxies, as redis.io's "command tips" defines them
	args            []commandArg
}

// commandFlags are the properties of a command that the server acts on.
type commandFlags uint32

const (
	cmdWrite                commandFlags = 1 << iota // may change the key space
	cmdReadonly                                      // reads keys and changes none
	cmdDenyOOM                                       // refused when out of memory
	cmdAdmin                                         // administrative
	cmdPubSub                                        // about publish and subscribe
	cmdNoScript                                      // refused in scripts
	cmdBlocking                                      // may block the client
	cmdLoading                                       // allowed while a dataset is being loaded
	cmdStale                                         // allowed on a replica that has lost its master
	cmdSkipMonitor                                   // not shown by MONITOR
	cmdSkipSlowlog                                   // not entered in the slow log
	cmdAsking                                        // implies ASKING in a cluster
	cmdFast                                          // O(1) or O(log n): it should never delay others
	cmdNoAuth                                        // allowed before authentication
	cmdMayReplicate                                  // may propagate although it is no write
	cmdNoMandatoryKeys                               // may be called without any key
	cmdNoAsyncLoading                                // refused during an asynchronous load
	cmdNoMulti                                       // refused inside MULTI
	cmdMovableKeys                                   // legacyKeys does not cover all keys; derived
	cmdAllowBusy                                     // allowed while a script runs for too long
	cmdProtected                                     // needs enable-debug-command or its like; not shown to clients
	cmdTouchesArbitraryKeys                          // may expire keys it was not given; not shown to clients
)

// aclCategories are the sets of commands that an ACL rule can name by @.
type aclCategories uint32

const (
	aclKeyspace aclCategories = 1 << iota
	aclRead
	aclWrite
	aclSet
	aclSortedset
	aclList
	aclHash
	aclString
	aclBitmap
	aclHyperloglog
	aclGeo
	aclStream
	aclPubsub
	aclAdmin
	aclFast
	aclSlow
	aclBlocking
	aclDangerous
	aclConnection
	aclTransaction
	aclScripting
)

// keySpec says where keys stand among the arguments. They begin at argv[index]
// or, with a keyword, after the first argument from argv[index] on that is that
// word (backwards from the end when index is negative). From there on every
// keyStep-th argument up to lastKey is one; or, with keyNum, as many as the
// argument keyNumIndex places after the begin says, firstKey places after it.
// A lastKey of 0 or more counts from the begin; a negative one counts from the
// end, -1 being the last argument, and a limit of n cuts that to one n-th of the
// arguments.
type keySpec struct {
	notes       string
	flags       keyFlags
	unknown     bool // no rule finds the keys: ask getKeys
	index       int
	keyword     string
	lastKey     int
	keyStep     int
	limit       int
	keyNum      bool
	keyNumIndex int
	firstKey    int
}

// keyFlags say what a command does with a key (one of RO, RW, OW, RM) and with
// the user's data in it (access, update, insert, delete).
type keyFlags uint32

const (
	keyRO keyFlags = 1 << iota // reads the value
	keyRW                      // reads and changes the value
	keyOW                      // overwrites the value without looking at it
	keyRM                      // deletes the key
	keyAccess
	keyUpdate
	keyInsert
	keyDelete
	keyIncomplete    // there are keys that the spec does not find: ask getKeys
	keyVariableFlags // the flags depend on the arguments: ask getKeys
)

// keyReference is a key among the arguments of a command.
type keyReference struct {
	pos   int // index in argv
	flags keyFlags
}

// getKeysProc appends to keys the keys in argv, for a command whose key specs
// do not tell everything.
type getKeysProc func(argv [][]byte, keys []keyReference) []keyReference

// commandGroup is the chapter of the documentation that a command belongs to.
// The scripts that test it are in testdata/<group>.
type commandGroup string

const (
	groupBitmap      commandGroup = "bitmap"
	groupConnection  commandGroup = "connection"
	groupGeneric     commandGroup = "generic"
	groupGeo         commandGroup = "geo"
	groupHash        commandGroup = "hash"
	groupHyperLogLog commandGroup = "hyperloglog"
	groupList        commandGroup = "list"
	groupServer      commandGroup = "server"
	groupSet         commandGroup = "set"
	groupSortedSet   commandGroup = "sorted-set"
	groupStream      commandGroup = "stream"
	groupString      commandGroup = "string"
)

// docFlags qualify a command's documentation.
type docFlags uint8

const (
	docDeprecated docFlags = 1 << iota
	docSyscmd              // for Redis itself and its developers
)

// historyEntry is a change to a command after the version that brought it.
type historyEntry struct {
	since, change string
}

// commandArg describes an argument for COMMAND DOCS.
type commandArg struct {
	name            string
	typ             argType
	keySpec         int    // of an argKey, or above 0: index in the command's keySpecs
	token           string // the literal word that precedes it, or that it is
	since           string
	deprecatedSince string
	flags           argFlags
	args            []commandArg // of argOneOf and argBlock
}

type argType uint8

const (
	argString argType = iota
	argInteger
	argDouble
	argKey
	argPattern
	argUnixTime
	argPureToken // the token alone
	argOneOf     // one of args
	argBlock     // all of args, in order
)

type argFlags uint8

const (
	argOptional argFlags = 1 << iota
	argMultiple
	argMultipleToken // the token is repeated with each value
)

// commandRows returns fresh rows, in alphabetical order within each group. It
// is a function and not a variable because commands reach the table that holds
// them (COMMAND does), which would be an initialization cycle, and because each
// server owns its rows, statistics included.
func commandRows() []*command {
	return slices.Concat(
		bitmapRows(),
		connectionRows(),
		genericRows(),
		geoRows(),
		hashRows(),
		hyperLogLogRows(),
		listRows(),
		serverRows(),
		setRows(),
		sortedSetRows(),
		streamRows(),
		stringRows(),
	)
}
