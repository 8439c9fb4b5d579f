package engine

func serverRows() []*command {
	return []*command{
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
			name: "memory", arity: -2,
			summary: "A container for memory diagnostics commands",
			since:   "4.0.0", group: groupServer, complexity: "Depends on subcommand.",
			subcommands: []*command{
				{
					name: "doctor", proc: memoryCommand, arity: 2,
					tips:    []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
					summary: "Outputs memory problems report",
					since:   "4.0.0", group: groupServer, complexity: "O(1)",
				},
				{
					name: "help", proc: memoryCommand, arity: 2,
					flags:   cmdLoading | cmdStale,
					summary: "Show helpful text about the different subcommands",
					since:   "4.0.0", group: groupServer, complexity: "O(1)",
				},
				{
					name: "malloc-stats", proc: memoryCommand, arity: 2,
					tips:    []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
					summary: "Show allocator internal stats",
					since:   "4.0.0", group: groupServer,
					complexity: "Depends on how much memory is allocated, could be slow",
				},
				{
					name: "purge", proc: memoryCommand, arity: 2,
					tips:    []string{"request_policy:all_shards", "response_policy:all_succeeded"},
					summary: "Ask the allocator to release memory",
					since:   "4.0.0", group: groupServer,
					complexity: "Depends on how much memory is allocated, could be slow",
				},
				{
					name: "stats", proc: memoryCommand, arity: 2,
					tips:    []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"},
					summary: "Show memory usage details",
					since:   "4.0.0", group: groupServer, complexity: "O(1)",
				},
				{
					name: "usage", proc: memoryCommand, arity: -3,
					flags:    cmdReadonly,
					keySpecs: []keySpec{{flags: keyRO, index: 2, keyStep: 1}},
					summary:  "Estimate the memory usage of a key",
					since:    "4.0.0", group: groupServer,
					complexity: "O(N) where N is the number of samples.",
					args: []commandArg{
						{name: "key", typ: argKey},
						{name: "count", typ: argInteger, token: "SAMPLES", flags: argOptional},
					},
				},
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
	}
}
