package engine

import "github.com/redscope/redscope/engine/internal/dict"

func setCommand(c *client) {
	key := c.argv[1]
	var scratch [8]byte
	value, e := encodeString(c.argv[2], &scratch)
	r := lookupKeyWrite(c, key)
	if _, ok := setString(c, c.db, key, r, value, e, false); !ok {
		return
	}
	keyModified(c)
	addReply(c, shared.ok)
}

// addReplyString replies with the string at r.
func addReplyString(c *client, d *dict.Dict, r dict.Ref) {
	var scratch [20]byte
	addReplyBulk(c, stringBytes(d, r, &scratch))
}

func getCommand(c *client) {
	r := lookupKeyRead(c, c.argv[1])
	if r == 0 {
		addReplyNull(c)
		return
	}
	if checkType(c, r, typeString) {
		return
	}
	addReplyString(c, c.db.dict, r)
}
