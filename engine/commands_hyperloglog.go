package engine

func hyperLogLogRows() []*command {
	return []*command{
		{
			name: "pfadd", proc: pfaddCommand, arity: -2,
			flags:    cmdWrite | cmdDenyOOM | cmdFast,
			acl:      aclHyperloglog,
			keySpecs: []keySpec{{flags: keyRW | keyInsert, index: 1, keyStep: 1}},
			summary:  "Adds the specified elements to the specified HyperLogLog.",
			since:    "2.8.9", group: groupHyperLogLog, complexity: "O(1) to add every element.",
			args: []commandArg{
				{name: "key", typ: argKey},
				{name: "element", typ: argString, flags: argOptional | argMultiple},
			},
		},
		{
			name: "pfcount", proc: pfcountCommand, arity: -2,
			flags:    cmdReadonly,
			acl:      aclHyperloglog,
			keySpecs: []keySpec{{notes: "RW because it may change the internal representation of the key, and propagate to replicas", flags: keyRW | keyAccess, index: 1, lastKey: -1, keyStep: 1}},
			summary:  "Return the approximated cardinality of the set(s) observed by the HyperLogLog at key(s).",
			since:    "2.8.9", group: groupHyperLogLog,
			complexity: "O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger constant times, when called with multiple keys.",
			args: []commandArg{
				{name: "key", typ: argKey, flags: argMultiple},
			},
		},
		{
			name: "pfmerge", proc: pfmergeCommand, arity: -2,
			flags: cmdWrite | cmdDenyOOM,
			acl:   aclHyperloglog,
			keySpecs: []keySpec{
				{flags: keyRW | keyAccess | keyInsert, index: 1, keyStep: 1},
				{flags: keyRO | keyAccess, index: 2, lastKey: -1, keyStep: 1},
			},
			summary: "Merge N different HyperLogLogs into a single one.",
			since:   "2.8.9", group: groupHyperLogLog,
			complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
			args: []commandArg{
				{name: "destkey", typ: argKey},
				{name: "sourcekey", typ: argKey, keySpec: 1, flags: argMultiple},
			},
		},
		{
			name: "pfselftest", proc: pfselftestCommand, arity: 1,
			flags:   cmdAdmin,
			acl:     aclHyperloglog,
			summary: "An internal command for testing HyperLogLog values",
			since:   "2.8.9", group: groupHyperLogLog, complexity: "N/A",
			doc: docSyscmd,
		},
	}
}
