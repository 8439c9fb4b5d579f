package engine

// This file declares every command once. COMMAND and its subcommands, key
// extraction, the checks of processCommand, CommandName and the symbol test
// all read the rows below; nothing about a command is written anywhere else.
// The values are those that redis-server 7.0.15 reports by COMMAND INFO and
// COMMAND DOCS, and a test compares each field with a live one.

// command is one row of the command table, or one subcommand of a row.
type command struct {
	// What the path of a command reads, first, so that it shares cache lines.

	name  string        // lower case; of a subcommand, without its container
	proc  func(*client) // nil for a container that cannot run by itself (CONFIG)
	arity int           // arguments including the name; -n means n or more
	flags commandFlags
	id    int // index for Server.CommandName, set by populateCommandTable

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

// keySpec says where keys stand among the arguments: from argv[index] on,
// every keyStep-th argument up to lastKey. A lastKey of 0 or more counts from
// index; a negative one counts from the end, -1 being the last argument.
type keySpec struct {
	notes   string
	flags   keyFlags
	index   int
	lastKey int
	keyStep int
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
	groupConnection commandGroup = "connection"
	groupGeneric    commandGroup = "generic"
	groupServer     commandGroup = "server"
	groupString     commandGroup = "string"
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
	keySpec         int    // of an argKey: index in the command's keySpecs
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
	return []*command{

		// connection

		{
			name: "auth", proc: authCommand, arity: -2,
			flags:   cmdNoScript | cmdLoading | cmdStale | cmdFast | cmdNoAuth | cmdAllowBusy,
			acl:     aclConnection,
			summary: "Authenticate to the server",
			since:   "1.0.0", group: groupConnection,
			complexity: "O(N) where N is the number of passwords defined for the user",
			history: []historyEntry{
				{since: "6.0.0", change: "Added ACL style (username and password)."},
			},
			args: []commandArg{
				{name: "username", typ: argString, since: "6.0.0", flags: argOptional},
				{name: "password", typ: argString},
			},
		},
		{
			name: "client", arity: -2,
			summary: "A container for client connection commands",
			since:   "2.4.0", group: groupConnection, complexity: "Depends on subcommand.",
			subcommands: []*command{
				{
					name: "caching", proc: clientCommand, arity: 3,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Instruct the server about tracking or not keys in the next request",
					since:   "6.0.0", group: groupConnection, complexity: "O(1)",
					args: []commandArg{
						{name: "mode", typ: argOneOf, args: []commandArg{
							{name: "yes", typ: argPureToken, token: "YES"},
							{name: "no", typ: argPureToken, token: "NO"},
						}},
					},
				},
				{
					name: "getname", proc: clientCommand, arity: 2,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Get the current connection name",
					since:   "2.6.9", group: groupConnection, complexity: "O(1)",
				},
				{
					name: "getredir", proc: clientCommand, arity: 2,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Get tracking notifications redirection client ID if any",
					since:   "6.0.0", group: groupConnection, complexity: "O(1)",
				},
				{
					name: "help", proc: clientCommand, arity: 2,
					flags:   cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Show helpful text about the different subcommands",
					since:   "5.0.0", group: groupConnection, complexity: "O(1)",
				},
				{
					name: "id", proc: clientCommand, arity: 2,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Returns the client ID for the current connection",
					since:   "5.0.0", group: groupConnection, complexity: "O(1)",
				},
				{
					name: "info", proc: clientCommand, arity: 2,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					tips:    []string{"nondeterministic_output"},
					summary: "Returns information about the current client connection.",
					since:   "6.2.0", group: groupConnection, complexity: "O(1)",
				},
				{
					name: "kill", proc: clientCommand, arity: -3,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Kill the connection of a client",
					since:   "2.4.0", group: groupConnection,
					complexity: "O(N) where N is the number of client connections",
					history: []historyEntry{
						{since: "2.8.12", change: "Added new filter format."},
						{since: "2.8.12", change: "`ID` option."},
						{since: "3.2.0", change: "Added `master` type in for `TYPE` option."},
						{since: "5.0.0", change: "Replaced `slave` `TYPE` with `replica`. `slave` still supported for backward compatibility."},
						{since: "6.2.0", change: "`LADDR` option."},
					},
					args: []commandArg{
						{name: "filter", typ: argOneOf, args: []commandArg{
							{name: "ip:port", typ: argString, deprecatedSince: "2.8.12"},
							{name: "new-format", typ: argOneOf, flags: argMultiple, args: []commandArg{
								{name: "client-id", typ: argInteger, token: "ID", since: "2.8.12", flags: argOptional},
								{name: "normal_master_slave_pubsub", typ: argOneOf, token: "TYPE", since: "2.8.12", flags: argOptional, args: []commandArg{
									{name: "normal", typ: argPureToken, token: "NORMAL"},
									{name: "master", typ: argPureToken, token: "MASTER", since: "3.2.0"},
									{name: "slave", typ: argPureToken, token: "SLAVE"},
									{name: "replica", typ: argPureToken, token: "REPLICA", since: "5.0.0"},
									{name: "pubsub", typ: argPureToken, token: "PUBSUB"},
								}},
								{name: "username", typ: argString, token: "USER", flags: argOptional},
								{name: "ip:port", typ: argString, token: "ADDR", flags: argOptional},
								{name: "ip:port", typ: argString, token: "LADDR", since: "6.2.0", flags: argOptional},
								{name: "yes/no", typ: argString, token: "SKIPME", flags: argOptional},
							}},
						}},
					},
				},
				{
					name: "list", proc: clientCommand, arity: -2,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					tips:    []string{"nondeterministic_output"},
					summary: "Get the list of client connections",
					since:   "2.4.0", group: groupConnection,
					complexity: "O(N) where N is the number of client connections",
					history: []historyEntry{
						{since: "2.8.12", change: "Added unique client `id` field."},
						{since: "5.0.0", change: "Added optional `TYPE` filter."},
						{since: "6.0.0", change: "Added `user` field."},
						{since: "6.2.0", change: "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the optional `ID` filter."},
						{since: "7.0.0", change: "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."},
						{since: "7.0.3", change: "Added `ssub` field."},
					},
					args: []commandArg{
						{name: "normal_master_replica_pubsub", typ: argOneOf, token: "TYPE", since: "5.0.0", flags: argOptional, args: []commandArg{
							{name: "normal", typ: argPureToken, token: "NORMAL"},
							{name: "master", typ: argPureToken, token: "MASTER"},
							{name: "replica", typ: argPureToken, token: "REPLICA"},
							{name: "pubsub", typ: argPureToken, token: "PUBSUB"},
						}},
						{name: "id", typ: argBlock, token: "ID", since: "6.2.0", flags: argOptional, args: []commandArg{
							{name: "client-id", typ: argInteger, flags: argMultiple},
						}},
					},
				},
				{
					name: "no-evict", proc: clientCommand, arity: 3,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Set client eviction mode for the current connection",
					since:   "7.0.0", group: groupConnection, complexity: "O(1)",
					args: []commandArg{
						{name: "enabled", typ: argOneOf, args: []commandArg{
							{name: "on", typ: argPureToken, token: "ON"},
							{name: "off", typ: argPureToken, token: "OFF"},
						}},
					},
				},
				{
					name: "pause", proc: clientCommand, arity: -3,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Stop processing commands from clients for some time",
					since:   "2.9.50", group: groupConnection, complexity: "O(1)",
					history: []historyEntry{
						{since: "6.2.0", change: "`CLIENT PAUSE WRITE` mode added along with the `mode` option."},
					},
					args: []commandArg{
						{name: "timeout", typ: argInteger},
						{name: "mode", typ: argOneOf, since: "6.2.0", flags: argOptional, args: []commandArg{
							{name: "write", typ: argPureToken, token: "WRITE"},
							{name: "all", typ: argPureToken, token: "ALL"},
						}},
					},
				},
				{
					name: "reply", proc: clientCommand, arity: 3,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Instruct the server whether to reply to commands",
					since:   "3.2.0", group: groupConnection, complexity: "O(1)",
					args: []commandArg{
						{name: "on_off_skip", typ: argOneOf, args: []commandArg{
							{name: "on", typ: argPureToken, token: "ON"},
							{name: "off", typ: argPureToken, token: "OFF"},
							{name: "skip", typ: argPureToken, token: "SKIP"},
						}},
					},
				},
				{
					name: "setname", proc: clientCommand, arity: 3,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Set the current connection name",
					since:   "2.6.9", group: groupConnection, complexity: "O(1)",
					args: []commandArg{
						{name: "connection-name", typ: argString},
					},
				},
				{
					name: "tracking", proc: clientCommand, arity: -3,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Enable or disable server assisted client side caching support",
					since:   "6.0.0", group: groupConnection,
					complexity: "O(1). Some options may introduce additional complexity.",
					args: []commandArg{
						{name: "status", typ: argOneOf, args: []commandArg{
							{name: "on", typ: argPureToken, token: "ON"},
							{name: "off", typ: argPureToken, token: "OFF"},
						}},
						{name: "client-id", typ: argInteger, token: "REDIRECT", flags: argOptional},
						{name: "prefix", typ: argString, token: "PREFIX", flags: argOptional | argMultiple | argMultipleToken},
						{name: "bcast", typ: argPureToken, token: "BCAST", flags: argOptional},
						{name: "optin", typ: argPureToken, token: "OPTIN", flags: argOptional},
						{name: "optout", typ: argPureToken, token: "OPTOUT", flags: argOptional},
						{name: "noloop", typ: argPureToken, token: "NOLOOP", flags: argOptional},
					},
				},
				{
					name: "trackinginfo", proc: clientCommand, arity: 2,
					flags:   cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Return information about server assisted client side caching for the current connection",
					since:   "6.2.0", group: groupConnection, complexity: "O(1)",
				},
				{
					name: "unblock", proc: clientCommand, arity: -3,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Unblock a client blocked in a blocking command from a different connection",
					since:   "5.0.0", group: groupConnection,
					complexity: "O(log N) where N is the number of client connections",
					args: []commandArg{
						{name: "client-id", typ: argInteger},
						{name: "timeout_error", typ: argOneOf, flags: argOptional, args: []commandArg{
							{name: "timeout", typ: argPureToken, token: "TIMEOUT"},
							{name: "error", typ: argPureToken, token: "ERROR"},
						}},
					},
				},
				{
					name: "unpause", proc: clientCommand, arity: 2,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Resume processing of clients that were paused",
					since:   "6.2.0", group: groupConnection,
					complexity: "O(N) Where N is the number of paused clients",
				},
			},
		},
		{
			name: "echo", proc: echoCommand, arity: 2,
			flags:   cmdLoading | cmdStale | cmdFast,
			acl:     aclConnection,
			summary: "Echo the given string",
			since:   "1.0.0", group: groupConnection, complexity: "O(1)",
			args: []commandArg{
				{name: "message", typ: argString},
			},
		},
		{
			name: "hello", proc: helloCommand, arity: -1,
			flags:   cmdNoScript | cmdLoading | cmdStale | cmdFast | cmdNoAuth | cmdAllowBusy,
			acl:     aclConnection,
			summary: "Handshake with Redis",
			since:   "6.0.0", group: groupConnection, complexity: "O(1)",
			history: []historyEntry{
				{since: "6.2.0", change: "`protover` made optional; when called without arguments the command reports the current connection's context."},
			},
			args: []commandArg{
				{name: "arguments", typ: argBlock, flags: argOptional, args: []commandArg{
					{name: "protover", typ: argInteger},
					{name: "username_password", typ: argBlock, token: "AUTH", flags: argOptional, args: []commandArg{
						{name: "username", typ: argString},
						{name: "password", typ: argString},
					}},
					{name: "clientname", typ: argString, token: "SETNAME", flags: argOptional},
				}},
			},
		},
		{
			name: "ping", proc: pingCommand, arity: -1,
			flags:   cmdFast,
			acl:     aclConnection,
			tips:    []string{"request_policy:all_shards", "response_policy:all_succeeded"},
			summary: "Ping the server",
			since:   "1.0.0", group: groupConnection, complexity: "O(1)",
			args: []commandArg{
				{name: "message", typ: argString, flags: argOptional},
			},
		},
		{
			name: "quit", proc: quitCommand, arity: -1,
			flags:   cmdNoScript | cmdLoading | cmdStale | cmdFast | cmdNoAuth | cmdAllowBusy,
			acl:     aclConnection,
			summary: "Close the connection",
			since:   "1.0.0", group: groupConnection, complexity: "O(1)",
		},
		{
			name: "reset", proc: resetCommand, arity: 1,
			flags:   cmdNoScript | cmdLoading | cmdStale | cmdFast | cmdNoAuth | cmdAllowBusy,
			acl:     aclConnection,
			summary: "Reset the connection",
			since:   "6.2.0", group: groupConnection, complexity: "O(1)",
		},
		{
			name: "select", proc: selectCommand, arity: 2,
			flags:   cmdLoading | cmdStale | cmdFast,
			acl:     aclConnection,
			summary: "Change the selected database for the current connection",
			since:   "1.0.0", group: groupConnection, complexity: "O(1)",
			args: []commandArg{
				{name: "index", typ: argInteger},
			},
		},

		// server

		{
			name: "command", proc: commandCommand, arity: -1,
			flags:   cmdLoading | cmdStale,
			acl:     aclConnection,
			tips:    []string{"nondeterministic_output_order"},
			summary: "Get array of Redis command details",
			since:   "2.8.13", group: groupServer,
			complexity: "O(N) where N is the total number of Redis commands",
			subcommands: []*command{
				{
					name: "count", proc: commandCountCommand, arity: 2,
					flags:   cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Get total number of Redis commands",
					since:   "2.8.13", group: groupServer, complexity: "O(1)",
				},
				{
					name: "docs", proc: commandDocsCommand, arity: -2,
					flags:   cmdLoading | cmdStale,
					acl:     aclConnection,
					tips:    []string{"nondeterministic_output_order"},
					summary: "Get array of specific Redis command documentation",
					since:   "7.0.0", group: groupServer,
					complexity: "O(N) where N is the number of commands to look up",
					args: []commandArg{
						{name: "command-name", typ: argString, flags: argOptional | argMultiple},
					},
				},
				{
					name: "getkeys", proc: commandGetKeysCommand, arity: -4,
					flags:   cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Extract keys given a full Redis command",
					since:   "2.8.13", group: groupServer,
					complexity: "O(N) where N is the number of arguments to the command",
				},
				{
					name: "getkeysandflags", proc: commandGetKeysAndFlagsCommand, arity: -4,
					flags:   cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Extract keys and access flags given a full Redis command",
					since:   "7.0.0", group: groupServer,
					complexity: "O(N) where N is the number of arguments to the command",
				},
				{
					name: "help", proc: commandHelpCommand, arity: 2,
					flags:   cmdLoading | cmdStale,
					acl:     aclConnection,
					summary: "Show helpful text about the different subcommands",
					since:   "5.0.0", group: groupServer, complexity: "O(1)",
				},
				{
					name: "info", proc: commandInfoCommand, arity: -2,
					flags:   cmdLoading | cmdStale,
					acl:     aclConnection,
					tips:    []string{"nondeterministic_output_order"},
					summary: "Get array of specific Redis command details, or all when no argument is given.",
					since:   "2.8.13", group: groupServer,
					complexity: "O(N) where N is the number of commands to look up",
					history: []historyEntry{
						{since: "7.0.0", change: "Allowed to be called with no argument to get info on all commands."},
					},
					args: []commandArg{
						{name: "command-name", typ: argString, flags: argOptional | argMultiple},
					},
				},
				{
					name: "list", proc: commandListCommand, arity: -2,
					flags:   cmdLoading | cmdStale,
					acl:     aclConnection,
					tips:    []string{"nondeterministic_output_order"},
					summary: "Get an array of Redis command names",
					since:   "7.0.0", group: groupServer,
					complexity: "O(N) where N is the total number of Redis commands",
					args: []commandArg{
						{name: "filterby", typ: argOneOf, token: "FILTERBY", flags: argOptional, args: []commandArg{
							{name: "module-name", typ: argString, token: "MODULE"},
							{name: "category", typ: argString, token: "ACLCAT"},
							{name: "pattern", typ: argPattern, token: "PATTERN"},
						}},
					},
				},
			},
		},
		{
			name: "config", arity: -2,
			summary: "A container for server configuration commands",
			since:   "2.0.0", group: groupServer, complexity: "Depends on subcommand.",
			subcommands: []*command{
				{
					name: "get", proc: configGetCommand, arity: -3,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					summary: "Get the values of configuration parameters",
					since:   "2.0.0", group: groupServer,
					complexity: "O(N) when N is the number of configuration parameters provided",
					history: []historyEntry{
						{since: "7.0.0", change: "Added the ability to pass multiple pattern parameters in one call"},
					},
					args: []commandArg{
						{name: "parameter", typ: argBlock, flags: argMultiple, args: []commandArg{
							{name: "parameter", typ: argString},
						}},
					},
				},
				{
					name: "help", proc: configHelpCommand, arity: 2,
					flags:   cmdLoading | cmdStale,
					summary: "Show helpful text about the different subcommands",
					since:   "5.0.0", group: groupServer, complexity: "O(1)",
				},
				{
					name: "resetstat", proc: configResetStatCommand, arity: 2,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					summary: "Reset the stats returned by INFO",
					since:   "2.0.0", group: groupServer, complexity: "O(1)",
				},
				{
					name: "rewrite", proc: configRewriteCommand, arity: 2,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					summary: "Rewrite the configuration file with the in memory configuration",
					since:   "2.8.0", group: groupServer, complexity: "O(1)",
				},
				{
					name: "set", proc: configSetCommand, arity: -4,
					flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale,
					tips:    []string{"request_policy:all_nodes", "response_policy:all_succeeded"},
					summary: "Set configuration parameters to the given values",
					since:   "2.0.0", group: groupServer,
					complexity: "O(N) when N is the number of configuration parameters provided",
					history: []historyEntry{
						{since: "7.0.0", change: "Added the ability to set multiple parameters in one call."},
					},
					args: []commandArg{
						{name: "parameter_value", typ: argBlock, flags: argMultiple, args: []commandArg{
							{name: "parameter", typ: argString},
							{name: "value", typ: argString},
						}},
					},
				},
			},
		},
		{
			name: "dbsize", proc: dbsizeCommand, arity: 1,
			flags:   cmdReadonly | cmdFast,
			acl:     aclKeyspace,
			tips:    []string{"request_policy:all_shards", "response_policy:agg_sum"},
			summary: "Return the number of keys in the selected database",
			since:   "1.0.0", group: groupServer, complexity: "O(1)",
		},
		{
			name: "debug", proc: debugCommand, arity: -2,
			flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale | cmdProtected,
			summary: "A container for debugging commands",
			since:   "1.0.0", group: groupServer, complexity: "Depends on subcommand.",
			doc: docSyscmd,
		},
		{
			name: "flushall", proc: flushallCommand, arity: -1,
			flags:   cmdWrite,
			acl:     aclKeyspace | aclDangerous,
			tips:    []string{"request_policy:all_shards", "response_policy:all_succeeded"},
			summary: "Remove all keys from all databases",
			since:   "1.0.0", group: groupServer,
			complexity: "O(N) where N is the total number of keys in all databases",
			history: []historyEntry{
				{since: "4.0.0", change: "Added the `ASYNC` flushing mode modifier."},
				{since: "6.2.0", change: "Added the `SYNC` flushing mode modifier."},
			},
			args: []commandArg{
				{name: "async", typ: argOneOf, flags: argOptional, args: []commandArg{
					{name: "async", typ: argPureToken, token: "ASYNC", since: "4.0.0"},
					{name: "sync", typ: argPureToken, token: "SYNC", since: "6.2.0"},
				}},
			},
		},
		{
			name: "flushdb", proc: flushdbCommand, arity: -1,
			flags:   cmdWrite,
			acl:     aclKeyspace | aclDangerous,
			tips:    []string{"request_policy:all_shards", "response_policy:all_succeeded"},
			summary: "Remove all keys from the current database",
			since:   "1.0.0", group: groupServer,
			complexity: "O(N) where N is the number of keys in the selected database",
			history: []historyEntry{
				{since: "4.0.0", change: "Added the `ASYNC` flushing mode modifier."},
				{since: "6.2.0", change: "Added the `SYNC` flushing mode modifier."},
			},
			args: []commandArg{
				{name: "async", typ: argOneOf, flags: argOptional, args: []commandArg{
					{name: "async", typ: argPureToken, token: "ASYNC", since: "4.0.0"},
					{name: "sync", typ: argPureToken, token: "SYNC", since: "6.2.0"},
				}},
			},
		},
		{
			name: "info", proc: infoCommand, arity: -1,
			flags:   cmdLoading | cmdStale,
			acl:     aclDangerous,
			tips:    []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
			summary: "Get information and statistics about the server",
			since:   "1.0.0", group: groupServer, complexity: "O(1)",
			history: []historyEntry{
				{since: "7.0.0", change: "Added support for taking multiple section arguments."},
			},
			args: []commandArg{
				{name: "section", typ: argString, flags: argOptional | argMultiple},
			},
		},
		{
			name: "shutdown", proc: shutdownCommand, arity: -1,
			flags:   cmdAdmin | cmdNoScript | cmdLoading | cmdStale | cmdNoMulti | cmdAllowBusy,
			summary: "Synchronously save the dataset to disk and then shut down the server",
			since:   "1.0.0", group: groupServer,
			complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
			history: []historyEntry{
				{since: "7.0.0", change: "Added the `NOW`, `FORCE` and `ABORT` modifiers."},
			},
			args: []commandArg{
				{name: "nosave_save", typ: argOneOf, flags: argOptional, args: []commandArg{
					{name: "nosave", typ: argPureToken, token: "NOSAVE"},
					{name: "save", typ: argPureToken, token: "SAVE"},
				}},
				{name: "now", typ: argPureToken, token: "NOW", since: "7.0.0", flags: argOptional},
				{name: "force", typ: argPureToken, token: "FORCE", since: "7.0.0", flags: argOptional},
				{name: "abort", typ: argPureToken, token: "ABORT", since: "7.0.0", flags: argOptional},
			},
		},
		{
			name: "swapdb", proc: swapdbCommand, arity: 3,
			flags:   cmdWrite | cmdFast,
			acl:     aclKeyspace | aclDangerous,
			summary: "Swaps two Redis databases",
			since:   "4.0.0", group: groupServer,
			complexity: "O(N) where N is the count of clients watching or blocking on keys from both databases.",
			args: []commandArg{
				{name: "index1", typ: argInteger},
				{name: "index2", typ: argInteger},
			},
		},
		{
			name: "time", proc: timeCommand, arity: 1,
			flags:   cmdLoading | cmdStale | cmdFast,
			tips:    []string{"nondeterministic_output"},
			summary: "Return the current server time",
			since:   "2.6.0", group: groupServer, complexity: "O(1)",
		},

		// generic

		{
			name: "copy", proc: copyCommand, arity: -3,
			flags: cmdWrite | cmdDenyOOM,
			acl:   aclKeyspace,
			keySpecs: []keySpec{
				{flags: keyRO | keyAccess, index: 1, keyStep: 1},
				{flags: keyOW | keyUpdate, index: 2, keyStep: 1},
			},
			summary: "Copy a key",
			since:   "6.2.0", group: groupGeneric,
			complexity: "O(N) worst case for collections, where N is the number of nested items. O(1) for string values.",
			args: []commandArg{
				{name: "source", typ: argKey},
				{name: "destination", typ: argKey, keySpec: 1},
				{name: "destination-db", typ: argInteger, token: "DB", flags: argOptional},
				{name: "replace", typ: argPureToken, token: "REPLACE", flags: argOptional},
			},
		},
		{
			name: "del", proc: delCommand, arity: -2,
			flags:    cmdWrite,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRM | keyDelete, index: 1, lastKey: -1, keyStep: 1}},
			tips:     []string{"request_policy:multi_shard", "response_policy:agg_sum"},
			summary:  "Delete a key",
			since:    "1.0.0", group: groupGeneric,
			complexity: "O(N) where N is the number of keys that will be removed. When a key to remove holds a value other than a string, the individual complexity for this key is O(M) where M is the number of elements in the list, set, sorted set or hash. Removing a single key that holds a string value is O(1).",
			args: []commandArg{
				{name: "key", typ: argKey, flags: argMultiple},
			},
		},
		{
			name: "exists", proc: existsCommand, arity: -2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRO, index: 1, lastKey: -1, keyStep: 1}},
			tips:     []string{"request_policy:multi_shard", "response_policy:agg_sum"},
			summary:  "Determine if a key exists",
			since:    "1.0.0", group: groupGeneric,
			complexity: "O(N) where N is the number of keys to check.",
			history: []historyEntry{
				{since: "3.0.3", change: "Accepts multiple `key` arguments."},
			},
			args: []commandArg{
				{name: "key", typ: argKey, flags: argMultiple},
			},
		},
		{
			name: "expire", proc: expireCommand, arity: -3,
			flags:    cmdWrite | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRW | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Set a key's time to live in seconds",
			since:    "1.0.0", group: groupGeneric, complexity: "O(1)",
			history: []historyEntry{
				{since: "7.0.0", change: "Added options: `NX`, `XX`, `GT` and `LT`."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "seconds", typ: argInteger},
				{name: "condition", typ: argOneOf, since: "7.0.0", flags: argOptional, args: []commandArg{
					{name: "nx", typ: argPureToken, token: "NX"},
					{name: "xx", typ: argPureToken, token: "XX"},
					{name: "gt", typ: argPureToken, token: "GT"},
					{name: "lt", typ: argPureToken, token: "LT"},
				}},
			},
		},
		{
			name: "expireat", proc: expireatCommand, arity: -3,
			flags:    cmdWrite | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRW | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Set the expiration for a key as a UNIX timestamp",
			since:    "1.2.0", group: groupGeneric, complexity: "O(1)",
			history: []historyEntry{
				{since: "7.0.0", change: "Added options: `NX`, `XX`, `GT` and `LT`."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "unix-time-seconds", typ: argUnixTime},
				{name: "condition", typ: argOneOf, since: "7.0.0", flags: argOptional, args: []commandArg{
					{name: "nx", typ: argPureToken, token: "NX"},
					{name: "xx", typ: argPureToken, token: "XX"},
					{name: "gt", typ: argPureToken, token: "GT"},
					{name: "lt", typ: argPureToken, token: "LT"},
				}},
			},
		},
		{
			name: "expiretime", proc: expiretimeCommand, arity: 2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Get the expiration Unix timestamp for a key",
			since:    "7.0.0", group: groupGeneric, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "keys", proc: keysCommand, arity: 2,
			flags:   cmdReadonly,
			acl:     aclKeyspace | aclDangerous,
			tips:    []string{"request_policy:all_shards", "nondeterministic_output_order"},
			summary: "Find all keys matching the given pattern",
			since:   "1.0.0", group: groupGeneric,
			complexity: "O(N) with N being the number of keys in the database, under the assumption that the key names in the database and the given pattern have limited length.",
			args: []commandArg{
				{name: "pattern", typ: argPattern},
			},
		},
		{
			name: "move", proc: moveCommand, arity: 3,
			flags:    cmdWrite | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Move a key to another database",
			since:    "1.0.0", group: groupGeneric, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "db", typ: argInteger},
			},
		},
		{
			name: "object", arity: -2,
			summary: "A container for object introspection commands",
			since:   "2.2.3", group: groupGeneric, complexity: "Depends on subcommand.",
			subcommands: []*command{
				{
					name: "encoding", proc: objectCommand, arity: 3,
					flags:    cmdReadonly,
					acl:      aclKeyspace,
					keySpecs: []keySpec{{flags: keyRO, index: 2, keyStep: 1}},
					tips:     []string{"nondeterministic_output"},
					summary:  "Inspect the internal encoding of a Redis object",
					since:    "2.2.3", group: groupGeneric, complexity: "O(1)",
					args: []commandArg{
						{name: "key", typ: argKey},
					},
				},
				{
					name: "freq", proc: objectCommand, arity: 3,
					flags:    cmdReadonly,
					acl:      aclKeyspace,
					keySpecs: []keySpec{{flags: keyRO, index: 2, keyStep: 1}},
					tips:     []string{"nondeterministic_output"},
					summary:  "Get the logarithmic access frequency counter of a Redis object",
					since:    "4.0.0", group: groupGeneric, complexity: "O(1)",
					args: []commandArg{
						{name: "key", typ: argKey},
					},
				},
				{
					name: "help", proc: objectCommand, arity: 2,
					flags:   cmdLoading | cmdStale,
					acl:     aclKeyspace,
					summary: "Show helpful text about the different subcommands",
					since:   "6.2.0", group: groupGeneric, complexity: "O(1)",
				},
				{
					name: "idletime", proc: objectCommand, arity: 3,
					flags:    cmdReadonly,
					acl:      aclKeyspace,
					keySpecs: []keySpec{{flags: keyRO, index: 2, keyStep: 1}},
					tips:     []string{"nondeterministic_output"},
					summary:  "Get the time since a Redis object was last accessed",
					since:    "2.2.3", group: groupGeneric, complexity: "O(1)",
					args: []commandArg{
						{name: "key", typ: argKey},
					},
				},
				{
					name: "refcount", proc: objectCommand, arity: 3,
					flags:    cmdReadonly,
					acl:      aclKeyspace,
					keySpecs: []keySpec{{flags: keyRO, index: 2, keyStep: 1}},
					tips:     []string{"nondeterministic_output"},
					summary:  "Get the number of references to the value of the key",
					since:    "2.2.3", group: groupGeneric, complexity: "O(1)",
					args: []commandArg{
						{name: "key", typ: argKey},
					},
				},
			},
		},
		{
			name: "persist", proc: persistCommand, arity: 2,
			flags:    cmdWrite | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRW | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Remove the expiration from a key",
			since:    "2.2.0", group: groupGeneric, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "pexpire", proc: pexpireCommand, arity: -3,
			flags:    cmdWrite | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRW | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Set a key's time to live in milliseconds",
			since:    "2.6.0", group: groupGeneric, complexity: "O(1)",
			history: []historyEntry{
				{since: "7.0.0", change: "Added options: `NX`, `XX`, `GT` and `LT`."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "milliseconds", typ: argInteger},
				{name: "condition", typ: argOneOf, since: "7.0.0", flags: argOptional, args: []commandArg{
					{name: "nx", typ: argPureToken, token: "NX"},
					{name: "xx", typ: argPureToken, token: "XX"},
					{name: "gt", typ: argPureToken, token: "GT"},
					{name: "lt", typ: argPureToken, token: "LT"},
				}},
			},
		},
		{
			name: "pexpireat", proc: pexpireatCommand, arity: -3,
			flags:    cmdWrite | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRW | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Set the expiration for a key as a UNIX timestamp specified in milliseconds",
			since:    "2.6.0", group: groupGeneric, complexity: "O(1)",
			history: []historyEntry{
				{since: "7.0.0", change: "Added options: `NX`, `XX`, `GT` and `LT`."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "unix-time-milliseconds", typ: argUnixTime},
				{name: "condition", typ: argOneOf, since: "7.0.0", flags: argOptional, args: []commandArg{
					{name: "nx", typ: argPureToken, token: "NX"},
					{name: "xx", typ: argPureToken, token: "XX"},
					{name: "gt", typ: argPureToken, token: "GT"},
					{name: "lt", typ: argPureToken, token: "LT"},
				}},
			},
		},
		{
			name: "pexpiretime", proc: pexpiretimeCommand, arity: 2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Get the expiration Unix timestamp for a key in milliseconds",
			since:    "7.0.0", group: groupGeneric, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "pttl", proc: pttlCommand, arity: 2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			tips:     []string{"nondeterministic_output"},
			summary:  "Get the time to live for a key in milliseconds",
			since:    "2.6.0", group: groupGeneric, complexity: "O(1)",
			history: []historyEntry{
				{since: "2.8.0", change: "Added the -2 reply."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "randomkey", proc: randomkeyCommand, arity: 1,
			flags:   cmdReadonly | cmdTouchesArbitraryKeys,
			acl:     aclKeyspace,
			tips:    []string{"request_policy:all_shards", "nondeterministic_output"},
			summary: "Return a random key from the keyspace",
			since:   "1.0.0", group: groupGeneric, complexity: "O(1)",
		},
		{
			name: "rename", proc: renameCommand, arity: 3,
			flags: cmdWrite,
			acl:   aclKeyspace,
			keySpecs: []keySpec{
				{flags: keyRW | keyAccess | keyDelete, index: 1, keyStep: 1},
				{flags: keyOW | keyUpdate, index: 2, keyStep: 1},
			},
			summary: "Rename a key",
			since:   "1.0.0", group: groupGeneric, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "newkey", typ: argKey, keySpec: 1},
			},
		},
		{
			name: "renamenx", proc: renamenxCommand, arity: 3,
			flags: cmdWrite | cmdFast,
			acl:   aclKeyspace,
			keySpecs: []keySpec{
				{flags: keyRW | keyAccess | keyDelete, index: 1, keyStep: 1},
				{flags: keyOW | keyInsert, index: 2, keyStep: 1},
			},
			summary: "Rename a key, only if the new key does not exist",
			since:   "1.0.0", group: groupGeneric, complexity: "O(1)",
			history: []historyEntry{
				{since: "3.2.0", change: "The command no longer returns an error when source and destination names are the same."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "newkey", typ: argKey, keySpec: 1},
			},
		},
		{
			name: "scan", proc: scanCommand, arity: -2,
			flags:   cmdReadonly | cmdTouchesArbitraryKeys,
			acl:     aclKeyspace,
			tips:    []string{"nondeterministic_output", "request_policy:special"},
			summary: "Incrementally iterate the keys space",
			since:   "2.8.0", group: groupGeneric,
			complexity: "O(1) for every call. O(N) for a complete iteration, including enough command calls for the cursor to return back to 0. N is the number of elements inside the collection.",
			history: []historyEntry{
				{since: "6.0.0", change: "Added the `TYPE` subcommand."},
			},
			args: []commandArg{
				{name: "cursor", typ: argInteger},
				{name: "pattern", typ: argPattern, token: "MATCH", flags: argOptional},
				{name: "count", typ: argInteger, token: "COUNT", flags: argOptional},
				{name: "type", typ: argString, token: "TYPE", since: "6.0.0", flags: argOptional},
			},
		},
		{
			name: "touch", proc: touchCommand, arity: -2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRO, index: 1, lastKey: -1, keyStep: 1}},
			tips:     []string{"request_policy:multi_shard", "response_policy:agg_sum"},
			summary:  "Alters the last access time of a key(s). Returns the number of existing keys specified.",
			since:    "3.2.1", group: groupGeneric,
			complexity: "O(N) where N is the number of keys that will be touched.",
			args: []commandArg{
				{name: "key", typ: argKey, flags: argMultiple},
			},
		},
		{
			name: "ttl", proc: ttlCommand, arity: 2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			tips:     []string{"nondeterministic_output"},
			summary:  "Get the time to live for a key in seconds",
			since:    "1.0.0", group: groupGeneric, complexity: "O(1)",
			history: []historyEntry{
				{since: "2.8.0", change: "Added the -2 reply."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "type", proc: typeCommand, arity: 2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRO, index: 1, keyStep: 1}},
			summary:  "Determine the type stored at key",
			since:    "1.0.0", group: groupGeneric, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "unlink", proc: unlinkCommand, arity: -2,
			flags:    cmdWrite | cmdFast,
			acl:      aclKeyspace,
			keySpecs: []keySpec{{flags: keyRM | keyDelete, index: 1, lastKey: -1, keyStep: 1}},
			tips:     []string{"request_policy:multi_shard", "response_policy:agg_sum"},
			summary:  "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking.",
			since:    "4.0.0", group: groupGeneric,
			complexity: "O(1) for each key removed regardless of its size. Then the command does O(N) work in a different thread in order to reclaim memory, where N is the number of allocations the deleted objects where composed of.",
			args: []commandArg{
				{name: "key", typ: argKey, flags: argMultiple},
			},
		},

		// string

		{
			name: "append", proc: appendCommand, arity: 3,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyInsert, index: 1, keyStep: 1}},
			summary:  "Append a value to a key",
			since:    "2.0.0", group: groupString,
			complexity: "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already present value is of any size, since the dynamic string library used by Redis will double the free space available on every reallocation.",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "value", typ: argString},
			},
		},
		{
			name: "decr", proc: decrCommand, arity: 2,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Decrement the integer value of a key by one",
			since:    "1.0.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "decrby", proc: decrbyCommand, arity: 3,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Decrement the integer value of a key by the given number",
			since:    "1.0.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "decrement", typ: argInteger},
			},
		},
		{
			name: "get", proc: getCommand, arity: 2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Get the value of a key",
			since:    "1.0.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "getdel", proc: getdelCommand, arity: 2,
			flags:    cmdWrite | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyDelete, index: 1, keyStep: 1}},
			summary:  "Get the value of a key and delete the key",
			since:    "6.2.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "getex", proc: getexCommand, arity: -2,
			flags: cmdWrite | cmdFast,
			acl:   aclString,
			keySpecs: []keySpec{
				{notes: "RW and UPDATE because it changes the TTL", flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1},
			},
			summary: "Get the value of a key and optionally set its expiration",
			since:   "6.2.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "expiration", typ: argOneOf, flags: argOptional, args: []commandArg{
					{name: "seconds", typ: argInteger, token: "EX"},
					{name: "milliseconds", typ: argInteger, token: "PX"},
					{name: "unix-time-seconds", typ: argUnixTime, token: "EXAT"},
					{name: "unix-time-milliseconds", typ: argUnixTime, token: "PXAT"},
					{name: "persist", typ: argPureToken, token: "PERSIST"},
				}},
			},
		},
		{
			name: "getrange", proc: getrangeCommand, arity: 4,
			flags:    cmdReadonly,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Get a substring of the string stored at a key",
			since:    "2.4.0", group: groupString,
			complexity: "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "start", typ: argInteger},
				{name: "end", typ: argInteger},
			},
		},
		{
			name: "getset", proc: getsetCommand, arity: 3,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Set the string value of a key and return its old value",
			since:    "1.0.0", group: groupString, complexity: "O(1)",
			doc: docDeprecated, deprecatedSince: "6.2.0", replacedBy: "`SET` with the `!GET` argument",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "value", typ: argString},
			},
		},
		{
			name: "incr", proc: incrCommand, arity: 2,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Increment the integer value of a key by one",
			since:    "1.0.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "incrby", proc: incrbyCommand, arity: 3,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Increment the integer value of a key by the given amount",
			since:    "1.0.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "increment", typ: argInteger},
			},
		},
		{
			name: "incrbyfloat", proc: incrbyfloatCommand, arity: 3,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Increment the float value of a key by the given amount",
			since:    "2.6.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "increment", typ: argDouble},
			},
		},
		{
			name: "mget", proc: mgetCommand, arity: -2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, lastKey: -1, keyStep: 1}},
			tips:     []string{"request_policy:multi_shard"},
			summary:  "Get the values of all the given keys",
			since:    "1.0.0", group: groupString,
			complexity: "O(N) where N is the number of keys to retrieve.",
			args: []commandArg{
				{name: "key", typ: argKey, flags: argMultiple},
			},
		},
		{
			name: "mset", proc: msetCommand, arity: -3,
			flags:    cmdWrite | cmdDenyOOM,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyOW | keyUpdate, index: 1, lastKey: -1, keyStep: 2}},
			tips:     []string{"request_policy:multi_shard", "response_policy:all_succeeded"},
			summary:  "Set multiple keys to multiple values",
			since:    "1.0.1", group: groupString,
			complexity: "O(N) where N is the number of keys to set.",
			args: []commandArg{
				{name: "key_value", typ: argBlock, flags: argMultiple, args: []commandArg{
					{name: "key", typ: argKey},
					{name: "value", typ: argString},
				}},
			},
		},
		{
			name: "msetnx", proc: msetnxCommand, arity: -3,
			flags:    cmdWrite | cmdDenyOOM,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyOW | keyInsert, index: 1, lastKey: -1, keyStep: 2}},
			tips:     []string{"request_policy:multi_shard", "response_policy:agg_min"},
			summary:  "Set multiple keys to multiple values, only if none of the keys exist",
			since:    "1.0.1", group: groupString,
			complexity: "O(N) where N is the number of keys to set.",
			args: []commandArg{
				{name: "key_value", typ: argBlock, flags: argMultiple, args: []commandArg{
					{name: "key", typ: argKey},
					{name: "value", typ: argString},
				}},
			},
		},
		{
			name: "psetex", proc: psetexCommand, arity: 4,
			flags:    cmdWrite | cmdDenyOOM,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyOW | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Set the value and expiration in milliseconds of a key",
			since:    "2.6.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "milliseconds", typ: argInteger},
				{name: "value", typ: argString},
			},
		},
		{
			name: "set", proc: setCommand, arity: -3,
			flags: cmdWrite | cmdDenyOOM,
			acl:   aclString,
			keySpecs: []keySpec{
				{notes: "RW and ACCESS due to the optional `GET` argument", flags: keyRW | keyAccess | keyUpdate | keyVariableFlags, index: 1, keyStep: 1},
			},
			getKeys: setGetKeys,
			summary: "Set the string value of a key",
			since:   "1.0.0", group: groupString, complexity: "O(1)",
			history: []historyEntry{
				{since: "2.6.12", change: "Added the `EX`, `PX`, `NX` and `XX` options."},
				{since: "6.0.0", change: "Added the `KEEPTTL` option."},
				{since: "6.2.0", change: "Added the `GET`, `EXAT` and `PXAT` option."},
				{since: "7.0.0", change: "Allowed the `NX` and `GET` options to be used together."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "value", typ: argString},
				{name: "condition", typ: argOneOf, since: "2.6.12", flags: argOptional, args: []commandArg{
					{name: "nx", typ: argPureToken, token: "NX"},
					{name: "xx", typ: argPureToken, token: "XX"},
				}},
				{name: "get", typ: argPureToken, token: "GET", since: "6.2.0", flags: argOptional},
				{name: "expiration", typ: argOneOf, flags: argOptional, args: []commandArg{
					{name: "seconds", typ: argInteger, token: "EX", since: "2.6.12"},
					{name: "milliseconds", typ: argInteger, token: "PX", since: "2.6.12"},
					{name: "unix-time-seconds", typ: argUnixTime, token: "EXAT", since: "6.2.0"},
					{name: "unix-time-milliseconds", typ: argUnixTime, token: "PXAT", since: "6.2.0"},
					{name: "keepttl", typ: argPureToken, token: "KEEPTTL", since: "6.0.0"},
				}},
			},
		},
		{
			name: "setex", proc: setexCommand, arity: 4,
			flags:    cmdWrite | cmdDenyOOM,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyOW | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Set the value and expiration of a key",
			since:    "2.0.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "seconds", typ: argInteger},
				{name: "value", typ: argString},
			},
		},
		{
			name: "setnx", proc: setnxCommand, arity: 3,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyOW | keyInsert, index: 1, keyStep: 1}},
			summary:  "Set the value of a key, only if the key does not exist",
			since:    "1.0.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "value", typ: argString},
			},
		},
		{
			name: "setrange", proc: setrangeCommand, arity: 4,
			flags:    cmdWrite | cmdDenyOOM,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRW | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Overwrite part of a string at key starting at the specified offset",
			since:    "2.2.0", group: groupString,
			complexity: "O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value argument.",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "offset", typ: argInteger},
				{name: "value", typ: argString},
			},
		},
		{
			name: "strlen", proc: strlenCommand, arity: 2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRO, index: 1, keyStep: 1}},
			summary:  "Get the length of the value stored in a key",
			since:    "2.2.0", group: groupString, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
			},
		},
		{
			name: "substr", proc: getrangeCommand, arity: 4,
			flags:    cmdReadonly,
			acl:      aclString,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Get a substring of the string stored at a key",
			since:    "1.0.0", group: groupString,
			complexity: "O(N) where N is the length of the returned string. The complexity is ultimately determined by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) for small strings.",
			doc:        docDeprecated, deprecatedSince: "2.0.0", replacedBy: "`GETRANGE`",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "start", typ: argInteger},
				{name: "end", typ: argInteger},
			},
		},
	}
}
