package engine

func bitmapRows() []*command {
	return []*command{
		{
			name: "bitcount", proc: bitcountCommand, arity: -2,
			flags:    cmdReadonly,
			acl:      aclBitmap,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Count set bits in a string",
			since:    "2.6.0", group: groupBitmap, complexity: "O(N)",
			history: []historyEntry{
				{since: "7.0.0", change: "Added the `BYTE|BIT` option."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "index", typ: argBlock, flags: argOptional, args: []commandArg{
					{name: "start", typ: argInteger},
					{name: "end", typ: argInteger},
					{name: "index_unit", typ: argOneOf, since: "7.0.0", flags: argOptional, args: []commandArg{
						{name: "byte", typ: argPureToken, token: "BYTE"},
						{name: "bit", typ: argPureToken, token: "BIT"},
					}},
				}},
			},
		},
		{
			name: "bitfield", proc: bitfieldCommand, arity: -2,
			flags:    cmdWrite | cmdDenyOOM,
			acl:      aclBitmap,
			keySpecs: []keySpec{{notes: "This command allows both access and modification of the key", flags: keyRW | keyAccess | keyUpdate | keyVariableFlags, index: 1, keyStep: 1}},
			getKeys:  bitfieldGetKeys,
			summary:  "Perform arbitrary bitfield integer operations on strings",
			since:    "3.2.0", group: groupBitmap,
			complexity: "O(1) for each subcommand specified",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "operation", typ: argOneOf, flags: argOptional | argMultiple, args: []commandArg{
					{name: "encoding_offset", typ: argBlock, token: "GET", args: []commandArg{
						{name: "encoding", typ: argString},
						{name: "offset", typ: argInteger},
					}},
					{name: "write", typ: argBlock, args: []commandArg{
						{name: "wrap_sat_fail", typ: argOneOf, token: "OVERFLOW", flags: argOptional, args: []commandArg{
							{name: "wrap", typ: argPureToken, token: "WRAP"},
							{name: "sat", typ: argPureToken, token: "SAT"},
							{name: "fail", typ: argPureToken, token: "FAIL"},
						}},
						{name: "write_operation", typ: argOneOf, args: []commandArg{
							{name: "encoding_offset_value", typ: argBlock, token: "SET", args: []commandArg{
								{name: "encoding", typ: argString},
								{name: "offset", typ: argInteger},
								{name: "value", typ: argInteger},
							}},
							{name: "encoding_offset_increment", typ: argBlock, token: "INCRBY", args: []commandArg{
								{name: "encoding", typ: argString},
								{name: "offset", typ: argInteger},
								{name: "increment", typ: argInteger},
							}},
						}},
					}},
				}},
			},
		},
		{
			name: "bitfield_ro", proc: bitfieldroCommand, arity: -2,
			flags:    cmdReadonly | cmdFast,
			acl:      aclBitmap,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD",
			since:    "6.0.0", group: groupBitmap,
			complexity: "O(1) for each subcommand specified",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "encoding_offset", typ: argBlock, token: "GET", flags: argOptional | argMultiple | argMultipleToken, args: []commandArg{
					{name: "encoding", typ: argString},
					{name: "offset", typ: argInteger},
				}},
			},
		},
		{
			name: "bitop", proc: bitopCommand, arity: -4,
			flags: cmdWrite | cmdDenyOOM,
			acl:   aclBitmap,
			keySpecs: []keySpec{
				{flags: keyOW | keyUpdate, index: 2, keyStep: 1},
				{flags: keyRO | keyAccess, index: 3, lastKey: -1, keyStep: 1},
			},
			summary: "Perform bitwise operations between strings",
			since:   "2.6.0", group: groupBitmap, complexity: "O(N)",
			args: []commandArg{
				{name: "operation", typ: argString},
				{name: "destkey", typ: argKey},
				{name: "key", typ: argKey, keySpec: 1, flags: argMultiple},
			},
		},
		{
			name: "bitpos", proc: bitposCommand, arity: -3,
			flags:    cmdReadonly,
			acl:      aclBitmap,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Find first bit set or clear in a string",
			since:    "2.8.7", group: groupBitmap, complexity: "O(N)",
			history: []historyEntry{
				{since: "7.0.0", change: "Added the `BYTE|BIT` option."},
			},
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "bit", typ: argInteger},
				{name: "index", typ: argBlock, flags: argOptional, args: []commandArg{
					{name: "start", typ: argInteger},
					{name: "end_index", typ: argBlock, flags: argOptional, args: []commandArg{
						{name: "end", typ: argInteger},
						{name: "index_unit", typ: argOneOf, since: "7.0.0", flags: argOptional, args: []commandArg{
							{name: "byte", typ: argPureToken, token: "BYTE"},
							{name: "bit", typ: argPureToken, token: "BIT"},
						}},
					}},
				}},
			},
		},
		{
			name: "getbit", proc: getbitCommand, arity: 3,
			flags:    cmdReadonly | cmdFast,
			acl:      aclBitmap,
			keySpecs: []keySpec{{flags: keyRO | keyAccess, index: 1, keyStep: 1}},
			summary:  "Returns the bit value at offset in the string value stored at key",
			since:    "2.2.0", group: groupBitmap, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "offset", typ: argInteger},
			},
		},
		{
			name: "setbit", proc: setbitCommand, arity: 4,
			flags:    cmdWrite | cmdDenyOOM,
			acl:      aclBitmap,
			keySpecs: []keySpec{{flags: keyRW | keyAccess | keyUpdate, index: 1, keyStep: 1}},
			summary:  "Sets or clears the bit at offset in the string value stored at key",
			since:    "2.2.0", group: groupBitmap, complexity: "O(1)",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "offset", typ: argInteger},
				{name: "value", typ: argInteger},
			},
		},
	}
}
