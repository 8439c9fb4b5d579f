package engine

// Stand-ins for what the rest of the engine provides. This file is dropped when
// the parts are joined.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

type Server struct {
	commands commandTable
}

type client struct {
	srv  *Server
	argv [][]byte
	resp int
	buf  []byte
}

var shared = struct{ syntaxerr []byte }{[]byte("-ERR syntax error\r\n")}

func addReply(c *client, raw []byte)            { c.buf = append(c.buf, raw...) }
func addReplyErrorObject(c *client, raw []byte) { addReply(c, raw) }
func addReplyStatus(c *client, s string)        { addReply(c, []byte("+"+s+"\r\n")) }
func addReplyBulkString(c *client, s string) {
	addReply(c, []byte("$"+strconv.Itoa(len(s))+"\r\n"+s+"\r\n"))
}
func addReplyBulk(c *client, b []byte)    { addReplyBulkString(c, string(b)) }
func addReplyLongLong(c *client, n int64) { addReply(c, []byte(":"+strconv.FormatInt(n, 10)+"\r\n")) }
func addReplyAggregate(c *client, b byte, n int) {
	addReply(c, []byte(string(b)+strconv.Itoa(n)+"\r\n"))
}
func addReplyArrayLen(c *client, n int) { addReplyAggregate(c, '*', n) }
func addReplySetLen(c *client, n int) {
	if c.resp == 2 {
		addReplyAggregate(c, '*', n)
	} else {
		addReplyAggregate(c, '~', n)
	}
}
func addReplyMapLen(c *client, n int) {
	if c.resp == 2 {
		addReplyAggregate(c, '*', 2*n)
	} else {
		addReplyAggregate(c, '%', n)
	}
}
func addReplyNull(c *client) {
	if c.resp == 2 {
		addReply(c, []byte("$-1\r\n"))
	} else {
		addReply(c, []byte("_\r\n"))
	}
}
func addReplyError(c *client, s string) { addReply(c, []byte("-ERR "+s+"\r\n")) }
func addReplyHelp(c *client, help []string) {
	name := strings.ToUpper(string(c.argv[0]))
	addReplyArrayLen(c, len(help)+3)
	addReplyStatus(c, name+" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")
	for _, h := range help {
		addReplyStatus(c, h)
	}
	addReplyStatus(c, "HELP")
	addReplyStatus(c, "    Prints this help.")
}

func stringmatchlen(p, s []byte, nocase bool) bool {
	ps, ss := string(p), string(s)
	if nocase {
		ps, ss = strings.ToLower(ps), strings.ToLower(ss)
	}
	if pre, ok := strings.CutSuffix(ps, "*"); ok {
		return strings.HasPrefix(ss, pre)
	}
	return ps == ss
}

func helloCommand(c *client) {
	c.resp, _ = strconv.Atoi(string(c.argv[1]))
	addReplyMapLen(c, 0)
}

func stubCommand(c *client) { addReplyError(c, "stub") }

// stubListen serves the commands that exist, for tests.
func stubListen() (addr string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	s := &Server{}
	s.populateCommandTable()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.stubServe(conn)
		}
	}()
	return l.Addr().String(), func() { l.Close() }, nil
}

func (s *Server) stubServe(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	c := &client{srv: s, resp: 2}
	for {
		var n, size int
		if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
			return
		}
		c.argv = nil
		for range n {
			if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
				return
			}
			b := make([]byte, size+2)
			if _, err := io.ReadFull(r, b); err != nil {
				return
			}
			c.argv = append(c.argv, b[:size])
		}
		cmd := s.lookupCommandArgs(c.argv)
		switch {
		case cmd == nil || cmd.proc == nil:
			addReplyError(c, "unknown command")
		case cmd.arity > 0 && n != cmd.arity || n < -cmd.arity:
			addReplyError(c, "wrong number of arguments for '"+cmd.fullName+"' command")
		default:
			cmd.proc(c)
		}
		conn.Write(c.buf)
		c.buf = c.buf[:0]
	}
}

func appendCommand(c *client)          { stubCommand(c) }
func authCommand(c *client)            { stubCommand(c) }
func clientCommand(c *client)          { stubCommand(c) }
func configGetCommand(c *client)       { stubCommand(c) }
func configHelpCommand(c *client)      { stubCommand(c) }
func configResetStatCommand(c *client) { stubCommand(c) }
func configRewriteCommand(c *client)   { stubCommand(c) }
func configSetCommand(c *client)       { stubCommand(c) }
func copyCommand(c *client)            { stubCommand(c) }
func dbsizeCommand(c *client)          { stubCommand(c) }
func debugCommand(c *client)           { stubCommand(c) }
func decrCommand(c *client)            { stubCommand(c) }
func decrbyCommand(c *client)          { stubCommand(c) }
func delCommand(c *client)             { stubCommand(c) }
func echoCommand(c *client)            { stubCommand(c) }
func existsCommand(c *client)          { stubCommand(c) }
func expireCommand(c *client)          { stubCommand(c) }
func expireatCommand(c *client)        { stubCommand(c) }
func expiretimeCommand(c *client)      { stubCommand(c) }
func flushallCommand(c *client)        { stubCommand(c) }
func flushdbCommand(c *client)         { stubCommand(c) }
func getCommand(c *client)             { stubCommand(c) }
func getdelCommand(c *client)          { stubCommand(c) }
func getexCommand(c *client)           { stubCommand(c) }
func getrangeCommand(c *client)        { stubCommand(c) }
func getsetCommand(c *client)          { stubCommand(c) }
func incrCommand(c *client)            { stubCommand(c) }
func incrbyCommand(c *client)          { stubCommand(c) }
func incrbyfloatCommand(c *client)     { stubCommand(c) }
func infoCommand(c *client)            { stubCommand(c) }
func keysCommand(c *client)            { stubCommand(c) }
func mgetCommand(c *client)            { stubCommand(c) }
func moveCommand(c *client)            { stubCommand(c) }
func msetCommand(c *client)            { stubCommand(c) }
func msetnxCommand(c *client)          { stubCommand(c) }
func objectCommand(c *client)          { stubCommand(c) }
func persistCommand(c *client)         { stubCommand(c) }
func pexpireCommand(c *client)         { stubCommand(c) }
func pexpireatCommand(c *client)       { stubCommand(c) }
func pexpiretimeCommand(c *client)     { stubCommand(c) }
func pingCommand(c *client)            { stubCommand(c) }
func psetexCommand(c *client)          { stubCommand(c) }
func pttlCommand(c *client)            { stubCommand(c) }
func quitCommand(c *client)            { stubCommand(c) }
func randomkeyCommand(c *client)       { stubCommand(c) }
func renameCommand(c *client)          { stubCommand(c) }
func renamenxCommand(c *client)        { stubCommand(c) }
func resetCommand(c *client)           { stubCommand(c) }
func scanCommand(c *client)            { stubCommand(c) }
func selectCommand(c *client)          { stubCommand(c) }
func setCommand(c *client)             { stubCommand(c) }
func setexCommand(c *client)           { stubCommand(c) }
func setnxCommand(c *client)           { stubCommand(c) }
func setrangeCommand(c *client)        { stubCommand(c) }
func shutdownCommand(c *client)        { stubCommand(c) }
func strlenCommand(c *client)          { stubCommand(c) }
func swapdbCommand(c *client)          { stubCommand(c) }
func timeCommand(c *client)            { stubCommand(c) }
func touchCommand(c *client)           { stubCommand(c) }
func ttlCommand(c *client)             { stubCommand(c) }
func typeCommand(c *client)            { stubCommand(c) }
func unlinkCommand(c *client)          { stubCommand(c) }
