package engine

// Commands that are still to be written.

func stubCommand(c *client) { addReplyError(c, "stub") }

func helloCommand(c *client) { stubCommand(c) }

func authCommand(c *client)            { stubCommand(c) }
func clientCommand(c *client)          { stubCommand(c) }
func configGetCommand(c *client)       { stubCommand(c) }
func configHelpCommand(c *client)      { stubCommand(c) }
func configResetStatCommand(c *client) { stubCommand(c) }
func configRewriteCommand(c *client)   { stubCommand(c) }
func configSetCommand(c *client)       { stubCommand(c) }
func debugCommand(c *client)           { stubCommand(c) }
func echoCommand(c *client)            { stubCommand(c) }
func infoCommand(c *client)            { stubCommand(c) }
func pingCommand(c *client)            { stubCommand(c) }
func quitCommand(c *client)            { stubCommand(c) }
func resetCommand(c *client)           { stubCommand(c) }
func shutdownCommand(c *client)        { stubCommand(c) }
func timeCommand(c *client)            { stubCommand(c) }
func (c *client) isLocal() bool        { return true }
