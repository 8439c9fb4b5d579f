package bpf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
)

// serverLayout says where things are in the structures of a stock server of one
// version, in bytes from their beginning. An entry belongs here only after the
// tests have passed with that server, but for what caveat says.
type serverLayout struct {
	name, version string // as in "Redis", "7.0.15"
	table         string // the variable with the commands

	clientID, clientConn, clientFlags, clientArgc, clientArgv, clientCmd, clientLastCmd, clientRealCmd uint32
	clientReply, clientReplyBytes, clientBufpos                                                        uint32
	// clientConn is 0 where it is not known.
	// net_output_bytes_curr_cmd; 0 where the buffers tell how much it is.
	clientOutput uint32

	commandSize, commandProc, commandKeySpecs, commandName uint32

	// stat_numcommands, stat_total_error_replies, an int that counts the commands whose
	// functions are under way, and io_threads_num.
	serverCalls, serverErrors, serverNesting, serverIOThreads uint64
	// io_threads_do_reads, where it decides; else I/O threads always read.
	serverIORead uint64

	// CMD_CALL_STATS and CMD_CALL_REPROCESSING, CLIENT_REEXECUTING_COMMAND or
	// ClientFlags.reexecuting_command, hasembval and hasexpire of an object; 0 where there
	// is no such flag.
	callStats, callAgain, clientAgain, objectEmbeds, objectExpires uint64
	// A blocked client's command is counted when it is done, in another call or in
	// updateStatsOnUnblock.
	countedWhenDone bool

	caveat string // for those who watch such a server

	// current_client, and executing_client, or else lua_client in the variable lctx, which
	// scripts use: pointers to a client.
	serverCurrentClient, serverExecutingClient, scriptClient uint64
}

// The numbers are those of src/server.h, and of src/eval.c for lctx, compiled for a 64-bit machine. Of Valkey
// 8.0.1 they are read from the code of Debian's valkey-server.
var serverLayouts = []serverLayout{{
	name: "Redis", version: "7.0.15", table: "redisCommandTable",
	clientID: 0, clientConn: 16, clientFlags: 8, clientArgc: 72, clientArgv: 80, clientCmd: 112, clientLastCmd: 120, clientRealCmd: 128,
	clientReply: 160, clientReplyBytes: 168, clientBufpos: 720,
	commandSize: 528, commandProc: 80, commandKeySpecs: 416, commandName: 400,
	serverCalls: 1216, serverErrors: 1680, serverNesting: 784, serverIOThreads: 1124, serverIORead: 1128,
	serverCurrentClient: 752, scriptClient: 8,
	callStats: 1 << 1,
}, {
	name: "Redis", version: "8.0.2", table: "redisCommandTable",
	clientID: 0, clientFlags: 8, clientArgc: 88, clientArgv: 96, clientCmd: 128, clientLastCmd: 136, clientRealCmd: 152,
	clientReply: 184, clientReplyBytes: 192, clientBufpos: 776,
	commandSize: 312, commandProc: 96, commandKeySpecs: 128, commandName: 216,
	serverCalls: 2472, serverErrors: 3000, serverNesting: 1512, serverIOThreads: 1868,
	serverCurrentClient: 1480, serverExecutingClient: 1488,
	callAgain: 1 << 2, countedWhenDone: true,
}, {
	name: "Redis", version: "8.0.6", table: "redisCommandTable",
	clientID: 0, clientFlags: 8, clientArgc: 88, clientArgv: 96, clientCmd: 128, clientLastCmd: 136, clientRealCmd: 152,
	clientReply: 184, clientReplyBytes: 192, clientBufpos: 776,
	commandSize: 312, commandProc: 96, commandKeySpecs: 128, commandName: 216,
	serverCalls: 2472, serverErrors: 3000, serverNesting: 1512, serverIOThreads: 1868,
	serverCurrentClient: 1480, serverExecutingClient: 1488,
	clientAgain: 1 << 50, countedWhenDone: true,
}, {
	name: "Valkey", version: "8.0.1", table: "serverCommandTable",
	clientID: 0, clientConn: 16, clientFlags: 8, clientArgc: 88, clientArgv: 96, clientCmd: 152, clientLastCmd: 160, clientRealCmd: 168,
	clientReply: 208, clientReplyBytes: 224, clientBufpos: 824,
	commandSize: 312, commandProc: 96, commandKeySpecs: 128, commandName: 216,
	serverCalls: 2072, serverErrors: 2560, serverNesting: 1608, serverIOThreads: 1964,
	serverCurrentClient: 1576, serverExecutingClient: 1584,
	callAgain: 1 << 2, countedWhenDone: true,
}, {
	name: "Valkey", version: "8.1.1", table: "serverCommandTable",
	clientID: 0, clientFlags: 272, clientArgc: 40, clientArgv: 32, clientCmd: 80, clientLastCmd: 88, clientRealCmd: 96,
	clientReply: 192, clientReplyBytes: 216, clientBufpos: 256,
	commandSize: 320, commandProc: 96, commandKeySpecs: 128, commandName: 216,
	serverCalls: 1992, serverErrors: 2544, serverNesting: 1520, serverIOThreads: 1876,
	serverCurrentClient: 1488, serverExecutingClient: 1496,
	callAgain: 1 << 2, countedWhenDone: true,
}, {
	name: "Valkey", version: "9.1.2", table: "serverCommandTable",
	clientID: 0, clientFlags: 328, clientArgc: 40, clientArgv: 32, clientCmd: 96, clientLastCmd: 104, clientRealCmd: 112,
	clientOutput: 392,
	commandSize:  344, commandProc: 96, commandKeySpecs: 136, commandName: 224,
	serverCalls: 1616, serverErrors: 2224, serverNesting: 1112, serverIOThreads: 1484,
	serverCurrentClient: 1080, serverExecutingClient: 1088,
	clientAgain: 1 << 53, objectEmbeds: 1 << 34, objectExpires: 1 << 32, countedWhenDone: true,
	caveat: "attached while a script ran, one command too many may have been taken for missed",
}}

// layout finds the layout of the server that p is, and checks it against the
// table of commands in its memory. The error says why it is not known.
func (p *process) layout(exe *image, mem io.ReaderAt) (*serverLayout, error) {
	rodata := exe.elf.Section(".rodata")
	if rodata == nil {
		return nil, fmt.Errorf("%s has no .rodata", exe.name)
	}
	data, err := rodata.Data()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", exe.name, err)
	}
	i := slices.IndexFunc(serverLayouts, func(l serverLayout) bool {
		_, _, err := exe.object(l.table)
		return err == nil && bytes.Contains(data, []byte("\x00"+l.version+"\x00"))
	})
	if i < 0 || exe.elf.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("%s is of a version whose structures are not known here", exe.name)
	}
	l := &serverLayouts[i]
	table, size, err := exe.object(l.table)
	if err != nil {
		return nil, err
	}
	bias, err := p.bias(exe)
	if err != nil {
		return nil, err
	}
	count := size / uint64(l.commandSize)
	if size%uint64(l.commandSize) != 0 || count < 2 {
		return nil, fmt.Errorf("%s says to be %s, but its table of commands has another size", exe.name, l)
	}
	for n := range count - 1 { // the last one is empty
		command := make([]byte, l.commandSize)
		if _, err := mem.ReadAt(command, int64(table+bias+n*uint64(l.commandSize))); err != nil {
			return nil, p.denied("its memory", err)
		}
		text := binary.NativeEndian.Uint64(command)
		if n == 0 && text < bias {
			// The dynamic linker has not put in yet where the program is.
			return nil, fmt.Errorf("pid %d (%s): %w", p.pid, p.comm, ErrStarting)
		}
		name := cString(mem, text)
		proc := binary.NativeEndian.Uint64(command[l.commandProc:]) // 0: only its subcommands have one
		f, ok := exe.at(proc - bias)
		if name == "" || proc != 0 && (!ok || !strings.HasSuffix(f.name, "Command")) {
			return nil, fmt.Errorf("%s says to be %s, but its table of commands is laid out otherwise", exe.name, l)
		}
	}
	return l, nil
}

func (l *serverLayout) String() string { return l.name + " " + l.version }

// constants are the layout as c/calls.bpf.c wants it.
func (l *serverLayout) constants() map[string]any {
	// Of those that are read at once.
	last := max(l.clientFlags, l.clientArgv, l.clientLastCmd, l.clientRealCmd, l.clientReplyBytes, l.clientBufpos, l.clientOutput)
	return map[string]any{
		callsVarKnownLayout: true, callsVarClientHead: last + 8, callsVarClientConn: l.clientConn,
		callsVarClientId: l.clientID, callsVarClientFlags: l.clientFlags,
		callsVarClientArgc: l.clientArgc, callsVarClientArgv: l.clientArgv,
		callsVarClientCmd: l.clientCmd, callsVarClientLastCmd: l.clientLastCmd, callsVarClientRealCmd: l.clientRealCmd,
		callsVarClientReply: l.clientReply, callsVarClientReplyBytes: l.clientReplyBytes, callsVarClientBufpos: l.clientBufpos,
		callsVarClientOutput:    l.clientOutput,
		callsVarCommandKeySpecs: l.commandKeySpecs,
		callsVarCallStats:       l.callStats, callsVarCallAgain: l.callAgain, callsVarClientAgain: l.clientAgain,
		callsVarObjectEmbeds: l.objectEmbeds, callsVarObjectExpires: l.objectExpires,
		callsVarCountedWhenDone: l.countedWhenDone,
	}
}

// labelConstants are the layout as c/client.h wants it.
func (l *serverLayout) labelConstants() map[string]any {
	return map[string]any{
		profileVarLabelSource: uint8(labelClient),
		profileVarAtArgc:      l.clientArgc, profileVarAtArgv: l.clientArgv,
		profileVarAtCmd: l.clientCmd, profileVarAtRealCmd: l.clientRealCmd,
		profileVarCommandKeySpecs: l.commandKeySpecs,
		profileVarObjectEmbeds:    l.objectEmbeds, profileVarObjectExpires: l.objectExpires,
	}
}

// commandName reads the name of the command whose structure is at addr: the server
// has it as "get" or "config|set".
func commandName(mem io.ReaderAt, addr uint64, l *serverLayout) string {
	var text [8]byte
	if _, err := mem.ReadAt(text[:], int64(addr)+int64(l.commandName)); err != nil {
		return ""
	}
	return strings.ToUpper(strings.Replace(cString(mem, binary.NativeEndian.Uint64(text[:])), "|", " ", 1))
}

// cString reads a short string of graphic ASCII that ends with a zero; "" when
// there is none at addr.
func cString(mem io.ReaderAt, addr uint64) string {
	text := make([]byte, 64)
	n, _ := mem.ReadAt(text, int64(addr))
	end := bytes.IndexByte(text[:n], 0)
	if end < 0 || bytes.ContainsFunc(text[:end], func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return string(text[:end])
}
