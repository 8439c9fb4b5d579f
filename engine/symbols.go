package engine

import _ "unsafe" // for go:linkname

// The plain ELF names: what nm, perf, bpftrace and pprof show is the function's
// name in Redis, without the package. A linkname to itself does that; it works
// for functions, not for methods, and leaves the functions where they are. One
// that the compiler would inline is marked go:noinline at its definition.
// Nothing else may be named here, and the linker must never run with -s, which
// removes the names. TestSymbols compares this list with the command table.

// The path of a command, and what the loop does beside it.

//go:linkname acceptCommonHandler acceptCommonHandler
//go:linkname acceptTcpHandler acceptTcpHandler
//go:linkname acceptUnixHandler acceptUnixHandler
//go:linkname activeExpireCycle activeExpireCycle
//go:linkname afterSleep afterSleep
//go:linkname beforeSleep beforeSleep
//go:linkname blockForKeys blockForKeys
//go:linkname call call
//go:linkname callHandler callHandler
//go:linkname clientsCron clientsCron
//go:linkname connSocketEventHandler connSocketEventHandler
//go:linkname createClient createClient
//go:linkname databasesCron databasesCron
//go:linkname freeClient freeClient
//go:linkname freeClientAsync freeClientAsync
//go:linkname freeClientsInAsyncFreeQueue freeClientsInAsyncFreeQueue
//go:linkname handleBlockedClientsTimeout handleBlockedClientsTimeout
//go:linkname handleClientsBlockedOnKeys handleClientsBlockedOnKeys
//go:linkname handleClientsWithPendingWrites handleClientsWithPendingWrites
//go:linkname processCommand processCommand
//go:linkname processCommandAndResetClient processCommandAndResetClient
//go:linkname processInputBuffer processInputBuffer
//go:linkname processUnblockedClients processUnblockedClients
//go:linkname readQueryFromClient readQueryFromClient
//go:linkname sendReplyToClient sendReplyToClient
//go:linkname serverCron serverCron
//go:linkname unblockClient unblockClient
//go:linkname writeToClient writeToClient

// What commands are made of.

//go:linkname checkStringLength checkStringLength
//go:linkname createDumpPayload createDumpPayload
//go:linkname dbDelete dbDelete
//go:linkname dbRandomKey dbRandomKey
//go:linkname dbSwapDatabases dbSwapDatabases
//go:linkname delGenericCommand delGenericCommand
//go:linkname emptyData emptyData
//go:linkname estimateObjectIdleTime estimateObjectIdleTime
//go:linkname expireGenericCommand expireGenericCommand
//go:linkname expireIfNeeded expireIfNeeded
//go:linkname getExpireMillisecondsOrReply getExpireMillisecondsOrReply
//go:linkname getFlushCommandFlags getFlushCommandFlags
//go:linkname getGenericCommand getGenericCommand
//go:linkname incrDecrCommand incrDecrCommand
//go:linkname lookupKey lookupKey
//go:linkname msetGenericCommand msetGenericCommand
//go:linkname parseExtendedExpireArgumentsOrReply parseExtendedExpireArgumentsOrReply
//go:linkname parseExtendedStringArgumentsOrReply parseExtendedStringArgumentsOrReply
//go:linkname parseScanCursorOrReply parseScanCursorOrReply
//go:linkname rdbLoadObject rdbLoadObject
//go:linkname rdbSaveObject rdbSaveObject
//go:linkname renameGenericCommand renameGenericCommand
//go:linkname scanDatabaseForDeletedStreams scanDatabaseForDeletedStreams
//go:linkname scanDatabaseForReadyKeys scanDatabaseForReadyKeys
//go:linkname scanGenericCommand scanGenericCommand
//go:linkname selectDb selectDb
//go:linkname setGenericCommand setGenericCommand
//go:linkname setKey setKey
//go:linkname signalDeletedKeyAsReady signalDeletedKeyAsReady
//go:linkname signalKeyAsReady signalKeyAsReady
//go:linkname stringmatchlen stringmatchlen
//go:linkname ttlGenericCommand ttlGenericCommand

// The commands.

//go:linkname appendCommand appendCommand
//go:linkname authCommand authCommand
//go:linkname clientCommand clientCommand
//go:linkname commandCommand commandCommand
//go:linkname commandCountCommand commandCountCommand
//go:linkname commandDocsCommand commandDocsCommand
//go:linkname commandGetKeysAndFlagsCommand commandGetKeysAndFlagsCommand
//go:linkname commandGetKeysCommand commandGetKeysCommand
//go:linkname commandHelpCommand commandHelpCommand
//go:linkname commandInfoCommand commandInfoCommand
//go:linkname commandListCommand commandListCommand
//go:linkname configGetCommand configGetCommand
//go:linkname configHelpCommand configHelpCommand
//go:linkname configResetStatCommand configResetStatCommand
//go:linkname configRewriteCommand configRewriteCommand
//go:linkname configSetCommand configSetCommand
//go:linkname copyCommand copyCommand
//go:linkname dbsizeCommand dbsizeCommand
//go:linkname debugCommand debugCommand
//go:linkname decrCommand decrCommand
//go:linkname decrbyCommand decrbyCommand
//go:linkname delCommand delCommand
//go:linkname dumpCommand dumpCommand
//go:linkname echoCommand echoCommand
//go:linkname existsCommand existsCommand
//go:linkname expireCommand expireCommand
//go:linkname expireatCommand expireatCommand
//go:linkname expiretimeCommand expiretimeCommand
//go:linkname flushallCommand flushallCommand
//go:linkname flushdbCommand flushdbCommand
//go:linkname getCommand getCommand
//go:linkname getdelCommand getdelCommand
//go:linkname getexCommand getexCommand
//go:linkname getrangeCommand getrangeCommand
//go:linkname getsetCommand getsetCommand
//go:linkname helloCommand helloCommand
//go:linkname incrCommand incrCommand
//go:linkname incrbyCommand incrbyCommand
//go:linkname incrbyfloatCommand incrbyfloatCommand
//go:linkname infoCommand infoCommand
//go:linkname keysCommand keysCommand
//go:linkname memoryCommand memoryCommand
//go:linkname mgetCommand mgetCommand
//go:linkname moveCommand moveCommand
//go:linkname msetCommand msetCommand
//go:linkname msetnxCommand msetnxCommand
//go:linkname objectCommand objectCommand
//go:linkname persistCommand persistCommand
//go:linkname pexpireCommand pexpireCommand
//go:linkname pexpireatCommand pexpireatCommand
//go:linkname pexpiretimeCommand pexpiretimeCommand
//go:linkname pingCommand pingCommand
//go:linkname psetexCommand psetexCommand
//go:linkname pttlCommand pttlCommand
//go:linkname quitCommand quitCommand
//go:linkname randomkeyCommand randomkeyCommand
//go:linkname renameCommand renameCommand
//go:linkname renamenxCommand renamenxCommand
//go:linkname resetCommand resetCommand
//go:linkname restoreCommand restoreCommand
//go:linkname scanCommand scanCommand
//go:linkname securityWarningCommand securityWarningCommand
//go:linkname selectCommand selectCommand
//go:linkname setCommand setCommand
//go:linkname setexCommand setexCommand
//go:linkname setnxCommand setnxCommand
//go:linkname setrangeCommand setrangeCommand
//go:linkname shutdownCommand shutdownCommand
//go:linkname strlenCommand strlenCommand
//go:linkname swapdbCommand swapdbCommand
//go:linkname timeCommand timeCommand
//go:linkname touchCommand touchCommand
//go:linkname ttlCommand ttlCommand
//go:linkname typeCommand typeCommand
//go:linkname unlinkCommand unlinkCommand
