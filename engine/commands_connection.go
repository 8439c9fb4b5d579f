package engine

func connectionRows() []*command {
	return []*command{
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
	}
}
