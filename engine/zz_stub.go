package engine

// Commands that are still to be written.

func stubCommand(c *client) { addReplyError(c, "stub") }

func stringmatchlen(p, s []byte, nocase bool) bool { return false }

func appendCommand(c *client)      { stubCommand(c) }
func copyCommand(c *client)        { stubCommand(c) }
func dbsizeCommand(c *client)      { stubCommand(c) }
func decrCommand(c *client)        { stubCommand(c) }
func decrbyCommand(c *client)      { stubCommand(c) }
func delCommand(c *client)         { stubCommand(c) }
func existsCommand(c *client)      { stubCommand(c) }
func expireCommand(c *client)      { stubCommand(c) }
func expireatCommand(c *client)    { stubCommand(c) }
func expiretimeCommand(c *client)  { stubCommand(c) }
func flushallCommand(c *client)    { stubCommand(c) }
func flushdbCommand(c *client)     { stubCommand(c) }
func getdelCommand(c *client)      { stubCommand(c) }
func getexCommand(c *client)       { stubCommand(c) }
func getrangeCommand(c *client)    { stubCommand(c) }
func getsetCommand(c *client)      { stubCommand(c) }
func incrCommand(c *client)        { stubCommand(c) }
func incrbyCommand(c *client)      { stubCommand(c) }
func incrbyfloatCommand(c *client) { stubCommand(c) }
func keysCommand(c *client)        { stubCommand(c) }
func mgetCommand(c *client)        { stubCommand(c) }
func moveCommand(c *client)        { stubCommand(c) }
func msetCommand(c *client)        { stubCommand(c) }
func msetnxCommand(c *client)      { stubCommand(c) }
func objectCommand(c *client)      { stubCommand(c) }
func persistCommand(c *client)     { stubCommand(c) }
func pexpireCommand(c *client)     { stubCommand(c) }
func pexpireatCommand(c *client)   { stubCommand(c) }
func pexpiretimeCommand(c *client) { stubCommand(c) }
func psetexCommand(c *client)      { stubCommand(c) }
func pttlCommand(c *client)        { stubCommand(c) }
func randomkeyCommand(c *client)   { stubCommand(c) }
func renameCommand(c *client)      { stubCommand(c) }
func renamenxCommand(c *client)    { stubCommand(c) }
func scanCommand(c *client)        { stubCommand(c) }
func selectCommand(c *client)      { stubCommand(c) }
func setexCommand(c *client)       { stubCommand(c) }
func setnxCommand(c *client)       { stubCommand(c) }
func setrangeCommand(c *client)    { stubCommand(c) }
func strlenCommand(c *client)      { stubCommand(c) }
func swapdbCommand(c *client)      { stubCommand(c) }
func touchCommand(c *client)       { stubCommand(c) }
func ttlCommand(c *client)         { stubCommand(c) }
func typeCommand(c *client)        { stubCommand(c) }
func unlinkCommand(c *client)      { stubCommand(c) }
