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
// tests have passed with that server.
type serverLayout struct {
	version string

	clientID, clientFlags, clientArgc, clientArgv, clientCmd, clientRealCmd uint32
	clientReply, clientReplyBytes, clientBufpos                             uint32

	commandSize, commandProc, commandKeySpec, commandName uint32

	// stat_numcommands, stat_total_error_replies, and in_nested_call, an int that counts
	// the commands whose functions are under way.
	serverCalls, serverErrors, serverNesting uint64

	// current_client, and lua_client in the variable lctx: pointers to a client.
	serverCurrentClient, scriptClient uint64
}

var serverLayouts = []serverLayout{{
	// Redis 7.0.15, src/server.h: struct client, struct redisCommand and struct
	// redisServer; src/eval.c: struct luaCtx; on a 64-bit machine.
	version:  "7.0.15",
	clientID: 0, clientFlags: 8, clientArgc: 72, clientArgv: 80, clientCmd: 112, clientRealCmd: 128,
	clientReply: 160, clientReplyBytes: 168, clientBufpos: 720,
	commandSize: 528, commandProc: 80, commandKeySpec: 112, commandName: 400,
	serverCalls: 1216, serverErrors: 1680, serverNesting: 784,
	serverCurrentClient: 752, scriptClient: 8,
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
		return bytes.Contains(data, []byte("\x00"+l.version+"\x00"))
	})
	if i < 0 || exe.elf.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("%s is of a version whose structures are not known here", exe.name)
	}
	l := &serverLayouts[i]
	table, size, err := exe.object("redisCommandTable")
	if err != nil {
		return nil, err
	}
	bias, err := p.bias(exe)
	if err != nil {
		return nil, err
	}
	count := size / uint64(l.commandSize)
	if size%uint64(l.commandSize) != 0 || count < 2 {
		return nil, fmt.Errorf("%s says to be %s, but its table of commands has another size", exe.name, l.version)
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
			return nil, fmt.Errorf("%s says to be %s, but its table of commands is laid out otherwise", exe.name, l.version)
		}
	}
	return l, nil
}

// constants are the layout as c/calls.bpf.c wants it, with sizes for replies to be
// measured.
func (l *serverLayout) constants(sizes bool) map[string]any {
	last := l.clientRealCmd // of those that are read at once
	if sizes {
		last = l.clientBufpos
	}
	return map[string]any{
		callsVarKnownLayout: true, callsVarReplySizes: sizes, callsVarClientHead: last + 8,
		callsVarClientId: l.clientID, callsVarClientFlags: l.clientFlags,
		callsVarClientArgc: l.clientArgc, callsVarClientArgv: l.clientArgv,
		callsVarClientCmd: l.clientCmd, callsVarClientRealCmd: l.clientRealCmd,
		callsVarClientReply: l.clientReply, callsVarClientReplyBytes: l.clientReplyBytes, callsVarClientBufpos: l.clientBufpos,
		callsVarCommandKeySpec: l.commandKeySpec,
	}
}

// labelConstants are the layout as c/client.h wants it.
func (l *serverLayout) labelConstants() map[string]any {
	return map[string]any{
		profileVarLabelSource: uint8(labelClient),
		profileVarAtArgc:      l.clientArgc, profileVarAtArgv: l.clientArgv,
		profileVarAtCmd: l.clientCmd, profileVarAtRealCmd: l.clientRealCmd,
		profileVarAtKeySpec: l.commandKeySpec,
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
