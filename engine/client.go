package engine

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/internal/quicklist"
)

// What a client takes beside its buffers, in bytes.
const (
	clientSize = unsafe.Sizeof(client{})
	sliceSize  = int64(unsafe.Sizeof([]byte(nil)))
)

// CLIENT and the other commands about the connection itself.

func pingCommand(c *client) {
	switch len(c.argv) {
	case 1:
		addReply(c, shared.pong)
	case 2:
		addReplyBulk(c, c.argv[1])
	default:
		addReplyErrorArity(c)
	}
}

func echoCommand(c *client) { addReplyBulk(c, c.argv[1]) }

// quitCommand never comes to call: QUIT needs neither authentication nor the right
// number of arguments, waits for no pause and is not counted.
func quitCommand(c *client) {
	addReply(c, shared.ok)
	c.flags |= clientCloseAfterReply
}

func timeCommand(c *client) {
	us := monotonicUnixMicroseconds()
	addReplyArrayLen(c, 2)
	addReplyBulkLongLong(c, us/1e6)
	addReplyBulkLongLong(c, us%1e6)
}

// resetCommand makes the connection as it was when it was opened.
func resetCommand(c *client) {
	c.db = c.srv.db[0]
	c.resp = 2
	c.name = nil
	c.flags &^= clientReplyOff | clientReplySkipNext
	c.authenticated = c.srv.config.RequirePass == ""
	addReplyStatus(c, "RESET")
}

// Authentication. There is one user, default, whose password is requirepass.

const defaultUser = "default"

// authenticate checks a user's password and reports whether it was right. How
// long that takes says nothing about how much of the password was.
func (c *client) authenticate(user, password []byte) bool {
	want := sha256.Sum256([]byte(c.srv.config.RequirePass))
	got := sha256.Sum256(password)
	right := subtle.ConstantTimeCompare(want[:], got[:]) == 1 || c.srv.config.RequirePass == ""
	if string(user) != defaultUser || !right {
		return false
	}
	c.authenticated = true
	return true
}

func authCommand(c *client) {
	user, password := []byte(defaultUser), c.argv[len(c.argv)-1]
	switch len(c.argv) {
	case 2:
		if c.srv.config.RequirePass == "" {
			addReplyError(c, "AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
			return
		}
	case 3:
		user = c.argv[1]
	default:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if !c.authenticate(user, password) {
		addReplyErrorObject(c, shared.wrongpasserr)
		return
	}
	addReply(c, shared.ok)
}

func helloCommand(c *client) {
	version := int64(0) // as it is
	args := c.argv[1:]
	if len(args) > 0 {
		var ok bool
		if version, ok = parseInt64(args[0]); !ok {
			addReplyError(c, "Protocol version is not an integer or out of range")
			return
		}
		if version < 2 || version > 3 {
			addReplyErrorObject(c, shared.noprotoerr)
			return
		}
		args = args[1:]
	}
	// Options take effect as they are read, so an earlier one holds although a
	// later one is refused.
	for len(args) > 0 {
		switch {
		case equalFoldASCII(args[0], "auth") && len(args) >= 3:
			if !c.authenticate(args[1], args[2]) {
				addReplyErrorObject(c, shared.wrongpasserr)
				return
			}
			args = args[3:]
		case equalFoldASCII(args[0], "setname") && len(args) >= 2:
			if !c.setNameOrReply(args[1]) {
				return
			}
			args = args[2:]
		default:
			addReplyErrorFormat(c, "Syntax error in HELLO option '%s'", cString(args[0]))
			return
		}
	}
	if c.mustAuthenticate() {
		addReplyErrorObject(c, shared.noautherrHello)
		return
	}
	if version != 0 {
		c.resp = int(version)
	}
	addReplyMapLen(c, 7)
	addReplyField(c, "server", "redis")
	addReplyField(c, "version", Version)
	addReplyBulkString(c, "proto")
	addReplyLongLong(c, int64(c.resp))
	addReplyBulkString(c, "id")
	addReplyLongLong(c, int64(c.id))
	addReplyField(c, "mode", "standalone")
	addReplyField(c, "role", "master")
	addReplyBulkString(c, "modules")
	addReplyArrayLen(c, 0)
}

// setNameOrReply names the connection, or tells the client what is wrong with
// the name: it must not disturb the lines of CLIENT LIST.
func (c *client) setNameOrReply(name []byte) bool {
	for _, b := range name {
		if b < '!' || b > '~' {
			addReplyError(c, "Client names cannot contain spaces, newlines or special characters.")
			return false
		}
	}
	c.name = bytes.Clone(name)
	return true
}

// clientCommand serves all subcommands of CLIENT.
func clientCommand(c *client) {
	argc := len(c.argv)
	switch sub := c.cmd.name; {
	case sub == "help":
		addReplyHelp(c, clientHelp)
	case sub == "id":
		addReplyLongLong(c, int64(c.id))
	case sub == "info":
		addReplyVerbatim(c, c.infoLine()+"\n", "txt")
	case sub == "list":
		clientList(c)
	case sub == "reply":
		clientReply(c)
	case sub == "no-evict":
		clientNoEvictSwitch(c)
	case sub == "kill":
		clientKill(c)
	case sub == "unblock" && (argc == 3 || argc == 4):
		clientUnblock(c)
	case sub == "setname":
		if c.setNameOrReply(c.argv[2]) {
			addReply(c, shared.ok)
		}
	case sub == "getname":
		if len(c.name) == 0 {
			addReplyNull(c)
			return
		}
		addReplyBulk(c, c.name)
	case sub == "pause" && (argc == 3 || argc == 4):
		clientPause(c)
	case sub == "unpause":
		c.srv.pause = pause{}
		addReply(c, shared.ok)
	case sub == "tracking":
		clientTracking(c)
	case sub == "caching":
		addReplyError(c, "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
	case sub == "getredir":
		addReplyLongLong(c, -1)
	case sub == "trackinginfo":
		addReplyMapLen(c, 3)
		addReplyBulkString(c, "flags")
		addReplySetLen(c, 1)
		addReplyBulkString(c, "off")
		addReplyBulkString(c, "redirect")
		addReplyLongLong(c, -1)
		addReplyBulkString(c, "prefixes")
		addReplyArrayLen(c, 0)
	default:
		addReplySubcommandSyntaxError(c)
	}
}

// clientType is a class of clients, as the TYPE of CLIENT LIST and CLIENT KILL.
// There are no masters, replicas or subscribers yet, so nobody is one.
type clientType int

const (
	clientNormal clientType = iota
	clientReplica
	clientPubSub
	clientMaster
)

var clientTypes = map[string]clientType{
	"normal": clientNormal, "slave": clientReplica, "replica": clientReplica,
	"pubsub": clientPubSub, "master": clientMaster,
}

// clientTypeArgument reads the name of a client type, or tells the client that
// it is none.
func clientTypeArgument(c *client, name []byte) (clientType, bool) {
	t, ok := clientTypes[strings.ToLower(string(name))]
	if !ok {
		addReplyErrorFormat(c, "Unknown client type '%s'", cString(name))
	}
	return t, ok
}

func (c *client) clientType() clientType { return clientNormal }

// inOrder returns all clients, the oldest first.
func (cs *clients) inOrder() []*client {
	all := cs.all()
	slices.SortFunc(all, func(a, b *client) int { return cmp.Compare(a.id, b.id) })
	return all
}

func clientList(c *client) {
	cs := &c.srv.clients
	var lines strings.Builder
	switch args := c.argv[2:]; {
	case len(args) == 2 && equalFoldASCII(args[0], "type"):
		t, ok := clientTypeArgument(c, args[1])
		if !ok {
			return
		}
		for _, other := range cs.inOrder() {
			if other.clientType() == t {
				lines.WriteString(other.infoLine() + "\n")
			}
		}
	case len(args) > 1 && equalFoldASCII(args[0], "id"):
		for _, arg := range args[1:] {
			id, ok := parseInt64(arg)
			if !ok {
				addReplyError(c, "Invalid client ID")
				return
			}
			if other := cs.byID[uint64(id)]; id > 0 && other != nil {
				lines.WriteString(other.infoLine() + "\n")
			}
		}
	case len(args) != 0:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	default:
		for _, other := range cs.inOrder() {
			lines.WriteString(other.infoLine() + "\n")
		}
	}
	addReplyVerbatim(c, lines.String(), "txt")
}

// infoLine describes a client as CLIENT LIST does.
func (c *client) infoLine() string {
	s := c.srv
	args := 0
	for _, a := range c.argv {
		args += len(a)
	}
	name := "NULL"
	if c.lastcmd != nil {
		name = c.lastcmd.fullName
	}
	events := ""
	if c.readHandler != nil {
		events += "r"
	}
	if c.writeHandler != nil {
		events += "w"
	}
	// What Redis keeps in a fixed buffer and in a list is one buffer here: up to
	// the size of the fixed one it counts as that.
	waiting := len(c.buf) - c.sent
	fixed, chunks, inChunks := waiting, 0, 0
	if waiting > replySize {
		fixed, chunks, inChunks = 0, 1, cap(c.buf)
	}
	unread := len(c.query) - c.pos
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d"+
		" sub=0 psub=0 ssub=0 multi=-1 qbuf=%d qbuf-free=%d argv-mem=%d multi-mem=0"+
		" rbs=%d rbp=%d obl=%d oll=%d omem=%d tot-mem=%d events=%s cmd=%s user=%s redir=-1 resp=%d",
		c.id, c.peer, c.local, c.fd, c.name,
		(s.loopClock.unixMs-c.created)/1000, (s.loopClock.unixMs-c.lastActive)/1000,
		c.flagsText(), c.db.id, unread, cap(c.query)-len(c.query), args,
		replySize, replySize, fixed, chunks, inChunks, c.memory(), events, name, defaultUser, c.resp)
}

// memory is what a client takes, in bytes: itself and its buffers.
func (c *client) memory() int64 {
	n := int64(clientSize) + int64(cap(c.buf)+cap(c.spare)) + int64(cap(c.argv))*sliceSize + int64(len(c.name)+len(c.peer)+len(c.local))
	if len(c.query) > 0 && &c.query[0] == &c.srv.clients.input[0] {
		return n // reads from the server's buffer
	}
	return n + int64(cap(c.query))
}

func (c *client) flagsText() string {
	var text []byte
	for _, f := range []struct {
		flag   clientFlags
		letter byte
	}{
		{clientPostponed | clientBlocked, 'b'}, {clientUnblocked, 'u'}, {clientCloseAfterReply, 'c'}, {clientCloseASAP, 'A'},
		{clientUnixSocket, 'U'}, {clientNoEvict, 'e'},
	} {
		if c.flags&f.flag != 0 {
			text = append(text, f.letter)
		}
	}
	if len(text) == 0 {
		return "N"
	}
	return string(text)
}

func clientReply(c *client) {
	switch mode := c.argv[2]; {
	case equalFoldASCII(mode, "on"):
		c.flags &^= clientReplyOff | clientReplySkip
		addReply(c, shared.ok)
	case equalFoldASCII(mode, "off"):
		c.flags |= clientReplyOff
	case equalFoldASCII(mode, "skip"):
		if c.flags&clientReplyOff == 0 {
			c.flags |= clientReplySkipNext
		}
	default:
		addReplyErrorObject(c, shared.syntaxerr)
	}
}

func clientNoEvictSwitch(c *client) {
	switch mode := c.argv[2]; {
	case equalFoldASCII(mode, "on"):
		c.flags |= clientNoEvict
	case equalFoldASCII(mode, "off"):
		c.flags &^= clientNoEvict
	default:
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	addReply(c, shared.ok)
}

// clientFilter says which clients CLIENT KILL is after. Zero values match all.
type clientFilter struct {
	id          uint64
	addr, laddr []byte
	kind        clientType
	byKind      bool
	skip        *client
}

func (f *clientFilter) matches(c *client) bool {
	switch {
	case f.id != 0 && c.id != f.id,
		f.addr != nil && c.peer != string(f.addr),
		f.laddr != nil && c.local != string(f.laddr),
		f.byKind && c.clientType() != f.kind,
		c == f.skip:
		return false
	}
	return true
}

func clientKill(c *client) {
	args := c.argv[2:]
	filter := clientFilter{skip: c}
	old := len(args) == 1
	if old {
		// In the old form, one may kill oneself.
		filter = clientFilter{addr: args[0]}
		args = nil
	}
	for ; len(args) > 0; args = args[min(2, len(args)):] {
		if len(args) == 1 {
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
		switch option, value := args[0], args[1]; {
		case equalFoldASCII(option, "id"):
			id, ok := parseInt64(value)
			if !ok || id < 1 {
				addReplyError(c, "client-id should be greater than 0")
				return
			}
			filter.id = uint64(id)
		case equalFoldASCII(option, "type"):
			var ok bool
			if filter.kind, ok = clientTypeArgument(c, value); !ok {
				return
			}
			filter.byKind = true
		case equalFoldASCII(option, "addr"):
			filter.addr = value
		case equalFoldASCII(option, "laddr"):
			filter.laddr = value
		case equalFoldASCII(option, "user"):
			if string(value) != defaultUser {
				addReplyErrorFormat(c, "No such user '%s'", cString(value))
				return
			}
		case equalFoldASCII(option, "skipme") && equalFoldASCII(value, "yes"):
			filter.skip = c
		case equalFoldASCII(option, "skipme") && equalFoldASCII(value, "no"):
			filter.skip = nil
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	killed, self := 0, false
	for _, other := range c.srv.clients.all() {
		if !filter.matches(other) {
			continue
		}
		killed++
		if other == c {
			self = true
			continue
		}
		freeClient(other)
	}
	switch {
	case !old:
		addReplyLongLong(c, int64(killed))
	case killed == 0:
		addReplyError(c, "No such client")
	default:
		addReply(c, shared.ok)
	}
	if self {
		c.flags |= clientCloseAfterReply
	}
}

// clientUnblock ends the wait of a client for a key. One that CLIENT PAUSE holds
// up does not count.
func clientUnblock(c *client) {
	withError := false
	if len(c.argv) == 4 {
		withError = equalFoldASCII(c.argv[3], "error")
		if !withError && !equalFoldASCII(c.argv[3], "timeout") {
			addReplyError(c, "CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
			return
		}
	}
	id, ok := intArgument(c, c.argv[2])
	if !ok {
		return
	}
	target := c.srv.clients.byID[uint64(id)]
	if target == nil || target.flags&clientBlocked == 0 {
		addReply(c, shared.czero)
		return
	}
	serveBlocked(target, func() bool {
		if withError {
			addReplyError(target, "-UNBLOCKED client unblocked via CLIENT UNBLOCK")
		} else {
			addReplyNullArray(target)
		}
		return true
	})
	addReply(c, shared.cone)
}

// clientTracking checks the options as Redis does, and refuses to begin:
// tracking is not available yet.
func clientTracking(c *client) {
	var bcast, optin, optout, redirect, prefix bool
	args := c.argv[3:]
	for ; len(args) > 0; args = args[1:] {
		switch {
		case equalFoldASCII(args[0], "redirect") && len(args) > 1:
			if redirect {
				addReplyError(c, "A client can only redirect to a single other client")
				return
			}
			id, ok := intArgument(c, args[1])
			if !ok {
				return
			}
			if c.srv.clients.byID[uint64(id)] == nil {
				addReplyError(c, "The client ID you want redirect to does not exist")
				return
			}
			redirect = true
			args = args[1:]
		case equalFoldASCII(args[0], "bcast"):
			bcast = true
		case equalFoldASCII(args[0], "optin"):
			optin = true
		case equalFoldASCII(args[0], "optout"):
			optout = true
		case equalFoldASCII(args[0], "noloop"):
		case equalFoldASCII(args[0], "prefix") && len(args) > 1:
			prefix = true
			args = args[1:]
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	switch on := equalFoldASCII(c.argv[2], "on"); {
	case !on && !equalFoldASCII(c.argv[2], "off"):
		addReplyErrorObject(c, shared.syntaxerr)
	case !on:
		addReply(c, shared.ok)
	case prefix && !bcast:
		addReplyError(c, "PREFIX option requires BCAST mode to be enabled")
	case bcast && (optin || optout):
		addReplyError(c, "OPTIN and OPTOUT are not compatible with BCAST")
	case optin && optout:
		addReplyError(c, "You can't specify both OPTIN mode and OPTOUT mode")
	default:
		addReplyError(c, "client tracking is not available yet")
	}
}

// pause is what CLIENT PAUSE asked for: until then, the commands of all clients
// wait, or only those that write.
type pause struct {
	until  int64 // Unix time, ms
	writes bool  // only commands that write
}

func clientPause(c *client) {
	s := c.srv
	writes := false
	if len(c.argv) == 4 {
		switch mode := c.argv[3]; {
		case equalFoldASCII(mode, "write"):
			writes = true
		case !equalFoldASCII(mode, "all"):
			addReplyError(c, "CLIENT PAUSE mode must be WRITE or ALL")
			return
		}
	}
	// As in Redis, one that is too long for the clock is none.
	until, ok := timeoutArgumentMs(c, c.argv[2])
	if !ok {
		return
	}
	// A pause under way is never made shorter or milder.
	if s.pausing() {
		writes = writes && s.pause.writes
	}
	s.pause = pause{until: max(s.pause.until, until), writes: writes}
	addReply(c, shared.ok)
}

// pausing reports whether a pause is under way.
func (s *Server) pausing() bool { return s.pause.until > s.loopClock.unixMs }

// paused reports whether the command has to wait for the end of a pause.
func (s *Server) paused(cmd *command) bool {
	return s.pausing() && (!s.pause.writes || cmd.flags&(cmdWrite|cmdMayReplicate) != 0)
}

// postpone puts a client's command off until the pause is over. Its bytes stay
// in the query buffer.
func (c *client) postpone() {
	c.flags |= clientPostponed
	c.srv.clients.postponed = append(c.srv.clients.postponed, c)
}

// resumePostponedClients executes what clients sent during a pause that is over.
func resumePostponedClients(s *Server) {
	if s.pausing() {
		return
	}
	waiting := s.clients.postponed
	s.clients.postponed = nil
	for _, c := range waiting {
		c.flags &^= clientPostponed
		if c.flags&clientCloseASAP == 0 {
			c.resume()
		}
	}
}

// resume executes what a client sent while it was held up.
func (c *client) resume() {
	c.trace.beginRead(c)
	c.trace.readDone(c, 0)
	if watching && c.srv.turn != nil {
		c.srv.turn.readNothing()
	}
	processInputBuffer(c)
	c.keepQuery(false)
	c.trace.endRead(c)
}

// isLocal reports whether the client connected from this machine.
func (c *client) isLocal() bool {
	if c.flags&clientUnixSocket != 0 {
		return true
	}
	a, err := netip.ParseAddrPort(c.peer)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

var clientHelp = []string{
	"CACHING (YES|NO)",
	"    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
	"GETREDIR",
	"    Return the client ID we are redirecting to when tracking is enabled.",
	"GETNAME",
	"    Return the name of the current connection.",
	"ID",
	"    Return the ID of the current connection.",
	"INFO",
	"    Return information about the current client connection.",
	"KILL <ip:port>",
	"    Kill connection made from <ip:port>.",
	"KILL <option> <value> [<option> <value> [...]]",
	"    Kill connections. Options are:",
	"    * ADDR (<ip:port>|<unixsocket>:0)",
	"      Kill connections made from the specified address",
	"    * LADDR (<ip:port>|<unixsocket>:0)",
	"      Kill connections made to specified local address",
	"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
	"      Kill connections by type.",
	"    * USER <username>",
	"      Kill connections authenticated by <username>.",
	"    * SKIPME (YES|NO)",
	"      Skip killing current connection (default: yes).",
	"LIST [options ...]",
	"    Return information about client connections. Options:",
	"    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
	"      Return clients of specified type.",
	"UNPAUSE",
	"    Stop the current client pause, resuming traffic.",
	"PAUSE <timeout> [WRITE|ALL]",
	"    Suspend all, or just write, clients for <timeout> milliseconds.",
	"REPLY (ON|OFF|SKIP)",
	"    Control the replies sent to the current connection.",
	"SETNAME <name>",
	"    Assign the name <name> to the current connection.",
	"UNBLOCK <clientid> [TIMEOUT|ERROR]",
	"    Unblock the specified blocked client.",
	"TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
	"         [OPTIN] [OPTOUT] [NOLOOP]",
	"    Control server assisted client side caching.",
	"TRACKINGINFO",
	"    Report tracking status for the current connection.",
	"NO-EVICT (ON|OFF)",
	"    Protect current client connection from eviction.",
}

// debugSleep blocks the server, which is what it is for: the thread, as in Redis,
// not just the goroutine, so that it looks from outside like what it is.
func debugSleep(seconds []byte) {
	f, err := strconv.ParseFloat(string(seconds), 64)
	if err != nil || !(f > 0) {
		return
	}
	rest := unix.NsecToTimespec(int64(min(f, 1e9) * 1e9))
	for unix.Nanosleep(&rest, &rest) == unix.EINTR {
	}
}

// shutdownCommand ends the server. Nothing is saved yet, so SAVE only says so
// in the log.
func shutdownCommand(c *client) {
	s := c.srv
	var save, noSave, abort, other bool
	for _, arg := range c.argv[1:] {
		switch {
		case equalFoldASCII(arg, "nosave"):
			noSave = true
		case equalFoldASCII(arg, "save"):
			save = true
		case equalFoldASCII(arg, "now"), equalFoldASCII(arg, "force"):
			other = true
		case equalFoldASCII(arg, "abort"):
			abort = true
		default:
			addReplyErrorObject(c, shared.syntaxerr)
			return
		}
	}
	if abort && (save || noSave || other) || save && noSave {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	if abort {
		addReplyError(c, "No shutdown in progress.")
		return
	}
	if save {
		s.log.warning("SAVE is not available yet: " + noDisk)
	}
	// The loop is left by beforeSleep, where no client is in the middle of a
	// command. This one gets no reply, and executes nothing more.
	s.shutdownAsked.Store(true)
	c.flags |= clientCloseASAP
}

// debugCommand serves those subcommands of DEBUG that tests of clients and of
// the server itself use.
func debugCommand(c *client) {
	s := c.srv
	argc := len(c.argv)
	switch sub := strings.ToLower(string(c.argv[1])); {
	case sub == "help" && argc == 2:
		addReplyHelp(c, []string{
			"ERROR <string>",
			"    Return a Redis protocol error with <string> as message. Useful for clients",
			"    unit tests to simulate Redis errors.",
			"LOG <message>",
			"    Write <message> to the server log.",
			"HTSTATS <dbid>",
			"    Return hash table statistics of the specified Redis database.",
			"OBJECT <key>",
			"    Show low level info about <key> and associated value.",
			"QUICKLIST-PACKED-THRESHOLD <size>",
			"    Sets the threshold for elements to be inserted as plain vs packed nodes",
			"    Default value is 1GB, allows values up to 4GB. Setting to 0 restores to default.",
			"SET-ACTIVE-EXPIRE <0|1>",
			"    Setting it to 0 disables expiring keys in background when they are not",
			"    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
			"    default.",
			"SLEEP <seconds>",
			"    Stop the server for <seconds>. Decimals allowed.",
		})
	case sub == "sleep" && argc == 3:
		debugSleep(c.argv[2])
		addReply(c, shared.ok)
	case sub == "set-active-expire" && argc == 3:
		n, _ := strconv.Atoi(string(c.argv[2]))
		s.config.ActiveExpire = n != 0
		addReply(c, shared.ok)
	case sub == "quicklist-packed-threshold" && argc == 3:
		n, ok := parseMemory(string(c.argv[2]))
		if !ok || n < 0 || n > 4<<30-1<<20 {
			addReplyError(c, "argument must be a memory value bigger than 1 and smaller than 4gb")
			return
		}
		if n == 0 {
			n = quicklist.DefaultPackedThreshold
		}
		s.lists.PackedThreshold = int(n)
		addReply(c, shared.ok)
	case sub == "error" && argc == 3:
		addReplyErrorFormat(c, "%s", "-"+string(c.argv[2]))
	case sub == "log" && argc == 3:
		s.log.warning("DEBUG LOG: %s", c.argv[2])
		addReply(c, shared.ok)
	case sub == "object" && argc == 3:
		debugObject(c)
	case sub == "htstats" && argc == 3:
		debugHashTables(c)
	default:
		addReplySubcommandSyntaxError(c)
	}
}

func debugHashTables(c *client) {
	id, ok := parseInt64(c.argv[2])
	if !ok {
		addReplyErrorObject(c, shared.notinterr)
		return
	}
	if id < 0 || id >= int64(len(c.srv.db)) {
		addReplyError(c, "Out of range database")
		return
	}
	stats := c.srv.db[id].dict.Stats()
	var b strings.Builder
	b.WriteString("[Dictionary HT]\n")
	for i, t := range stats.Tables {
		if t.Buckets == 0 && i > 0 {
			continue
		}
		fmt.Fprintf(&b, "Hash table %d stats:\n table size: %d\n number of elements: %d\n child buckets: %d\n chains by length: %v\n chains by fill: %v\n",
			i, t.Buckets, t.Entries, t.Children, t.Chains, t.Fill)
	}
	fmt.Fprintf(&b, "[Expires HT]\n number of elements: %d\n", stats.Expiring)
	addReplyVerbatim(c, b.String(), "txt")
}
