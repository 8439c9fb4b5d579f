package differential

import "strings"

// descriptions are the commands that are sent, in the grammar of grammar.go. A line
// may hold several commands, separated by ";": they stay together, since the later
// ones undo what is random in the first.
//
// Left out is what depends on more than the commands: waiting for long, what is said
// of memory and time, and the last digit of a distance (STOREDIST), for which the C
// library's sine is within one unit but not the nearest.
const descriptions = `
GET s
SET s value #30
SET s value {EX seconds|PX millis|EXAT secondat|PXAT millisat|NX|XX|GET|KEEPTTL|GET|KEEPTTL|PERSIST|junk} #30
GETSET s value
GETDEL s #5
GETEX s {EX seconds|PX millis|EXAT secondat|PXAT millisat|PERSIST|junk}
SETNX s value
SETEX s seconds value
PSETEX s millis value
MSET (s value)+ [key]
MSETNX (s value)+
MGET (key)+
APPEND s value #20
STRLEN s
GETRANGE s index index
SUBSTR s index index
SETRANGE s offset value
INCR s
DECR s
INCRBY s int #20
DECRBY s int
INCRBYFLOAT s float #20
MSET short text short text #5
LCS short short {LEN|IDX|WITHMATCHLEN|MINMATCHLEN count|IDX|junk}

DEL (key)+
UNLINK (key)+ #5
EXISTS (key)+
TOUCH (key)+ #3
TYPE key
OBJECT ENCODING key #20
OBJECT REFCOUNT s #2
RENAME key key #5
RENAMENX key key #5
COPY key key {REPLACE|DB db|REPLACE|junk} #20
MOVE key db #3
KEYS pattern #3
SCAN 0 COUNT far [MATCH pattern] [TYPE type] [junk] #5
DBSIZE #2
SELECT db #3
SWAPDB db db #1
RANDOMKEY #2
EXPIRE key seconds {NX|XX|GT|LT|junk} #5
PEXPIRE key millis {NX|XX|GT|LT|junk} #5
EXPIREAT key secondat {NX|XX|GT|LT} #5
PEXPIREAT key millisat {NX|XX|GT|LT} #5
TTL key
PTTL key
EXPIRETIME key
PEXPIRETIME key
PERSIST key
SORT (l|z|t) {LIMIT index count|GET by|ASC|DESC|junk} #20
SORT (l|z|t) ALPHA STORE l {LIMIT index count|GET by|ASC|DESC} #20
SORT (l|z|t) ALPHA {GET by|ASC|DESC}
SORT (l|z) BY by {GET by|ASC|DESC|ALPHA|ALPHA|junk}
SORT_RO (l|z|t) {LIMIT index count|GET by|ASC|DESC|junk}
SORT_RO (l|z) BY by {GET by|ASC|DESC|ALPHA}

LPUSH l (member)+ #30
RPUSH l (member)+ #30
LPUSHX l (member)+
RPUSHX l (member)+
LPOP l [count] #20
RPOP l [count] #20
LLEN l
LINDEX l index
LSET l index member #20
LINSERT l (BEFORE|AFTER|junk) member member #20
LRANGE l index index
LREM l scount member #20
LTRIM l index index
LMOVE l l (LEFT|RIGHT) (LEFT|RIGHT) #20
RPOPLPUSH l l
LPOS l member {RANK rank|COUNT count|MAXLEN count|junk}
LMPOP numkeys (l)+ (LEFT|RIGHT|junk) [COUNT count]
BLMPOP 0.01 numkeys l l (LEFT|RIGHT|junk) [COUNT count] #1
BLPOP (l)+ 0.01 #1
BRPOP (l)+ 0.01 #1
BLMOVE l l (LEFT|RIGHT) (LEFT|RIGHT) 0.01 #1
BRPOPLPUSH l l 0.01 #1

HSET h (field value)+ [field] #40
HMSET h (field value)+ #5
HSETNX h field value
HGET h field
HMGET h (field)+
HGETALL h
HKEYS h
HVALS h
HLEN h
HSTRLEN h field
HEXISTS h field
HDEL h (field)+ #20
HINCRBY h field int #20
HINCRBYFLOAT h field float #20
HRANDFIELD h [scount [WITHVALUES]]
HSCAN h 0 COUNT far [MATCH pattern] [junk]

SADD t (member)+ #30
SADD t (int)+ #10
SREM t (member)+ #20
SMOVE t t member
SCARD t
SISMEMBER t member
SMISMEMBER t (member)+
SMEMBERS t
SPOP t ; SCARD t ; DEL t #3
SPOP t scount ; SCARD t ; DEL t #3
SRANDMEMBER t [scount]
SSCAN t 0 COUNT far [MATCH pattern] [junk]
SINTER (t)+
SUNION (t)+
SDIFF (t)+
SINTERSTORE t (t)+
SUNIONSTORE t (t)+
SDIFFSTORE t (t)+
SINTERCARD numkeys (t)+ [LIMIT count]

ZADD z {NX|XX|GT|LT|CH|INCR} (score member)+ #40
ZADD z (score member)+ #20
ZINCRBY z score member #20
ZADD y {NX|XX|CH} (zero member)+ #20
ZREM y (member)+ #3
ZREM z (member)+ #20
ZCARD z
ZSCORE z member
ZMSCORE z (member)+
ZRANK z member
ZREVRANK z member
ZCOUNT z zmin zmin
ZLEXCOUNT y zlex zlex
ZRANGE z index index {WITHSCORES|REV|junk} #20
ZRANGE z zmin zmin BYSCORE {WITHSCORES|REV|LIMIT index count} #20
ZRANGE y zlex zlex BYLEX {WITHSCORES|REV|LIMIT index count}
ZRANGESTORE z z index index [REV]
ZRANGESTORE z z zmin zmin BYSCORE {REV|LIMIT index count}
ZRANGESTORE z y zlex zlex BYLEX {REV|LIMIT index count}
ZREVRANGE z index index [WITHSCORES]
ZRANGEBYSCORE z zmin zmin {WITHSCORES|LIMIT index count|junk}
ZREVRANGEBYSCORE z zmin zmin {WITHSCORES|LIMIT index count}
ZRANGEBYLEX y zlex zlex [LIMIT index count]
ZREVRANGEBYLEX y zlex zlex [LIMIT index count]
ZREMRANGEBYRANK z index index
ZREMRANGEBYSCORE z zmin zmin #5
ZREMRANGEBYLEX y zlex zlex #5
ZPOPMIN z [count]
ZPOPMAX z [count]
ZMPOP numkeys (z)+ (MIN|MAX|junk) [COUNT count]
BZPOPMIN (z)+ 0.01 #1
BZPOPMAX (z)+ 0.01 #1
BZMPOP 0.01 numkeys z z (MIN|MAX) [COUNT count] #1
ZRANDMEMBER z [scount [WITHSCORES]]
ZSCAN z 0 COUNT far [MATCH pattern] [junk]
ZUNION numkeys (z|t|z|z)+ {WEIGHTS weight weight|AGGREGATE (SUM|MIN|MAX|junk)|WITHSCORES}
ZINTER numkeys (z|t|z|z)+ {WEIGHTS weight weight|AGGREGATE (SUM|MIN|MAX)|WITHSCORES}
ZDIFF numkeys (z|t|z|z)+ [WITHSCORES]
ZUNIONSTORE z numkeys (z|t|z|z)+ {WEIGHTS weight weight|AGGREGATE (SUM|MIN|MAX)|junk}
ZINTERSTORE z numkeys (z|t|z|z)+ {WEIGHTS weight weight|AGGREGATE (SUM|MIN|MAX)}
ZDIFFSTORE z numkeys (z|t|z|z)+
ZINTERCARD numkeys (z|t|z|z)+ [LIMIT count]

SETBIT b offset bit #30
GETBIT b offset
BITCOUNT b [index index [BIT|BYTE|junk]]
BITPOS b bit [index [index [BIT|BYTE|junk]]]
BITOP (AND|OR|XOR|NOT|junk) b (b|s)+ #20
BITFIELD b {GET bittype bitindex|SET bittype bitindex int|INCRBY bittype bitindex int|OVERFLOW (WRAP|SAT|FAIL|junk)} #20
BITFIELD_RO b {GET bittype bitindex|GET bittype bitindex|SET bittype bitindex int}

PFADD p (member)* #30
PFADD p (int int int int)+
PFCOUNT (p)+ #20
PFMERGE p (p)*

GEOADD g {NX|XX|CH} (lon lat place)+ #30
GEOPOS g (place)*
GEODIST g place place [unit]
GEOHASH g (place)*
GEOSEARCH g (FROMMEMBER place|FROMLONLAT lon lat) (BYRADIUS dist unit|BYBOX dist dist unit) {ASC|DESC|COUNT count|WITHCOORD|WITHDIST|WITHHASH|junk} #20
GEOSEARCHSTORE g g (FROMMEMBER place|FROMLONLAT lon lat) (BYRADIUS dist unit|BYBOX dist dist unit) {ASC|DESC|COUNT count}
GEORADIUS g lon lat dist unit {ASC|DESC|COUNT count|WITHCOORD|WITHDIST|WITHHASH|STORE g}
GEORADIUS_RO g lon lat dist unit {ASC|DESC|COUNT count|WITHCOORD|WITHDIST|WITHHASH}
GEORADIUSBYMEMBER g place dist unit {ASC|DESC|COUNT count|WITHCOORD|WITHDIST|WITHHASH|STORE g}
GEORADIUSBYMEMBER_RO g place dist unit {ASC|DESC|COUNT count|WITHCOORD|WITHDIST|WITHHASH}

XADD x {NOMKSTREAM|MAXLEN count|MINID id} addid (field value)+ #60
XLEN x
XDEL x (id)+
XRANGE x rangeid rangeid [COUNT count] #20
XREVRANGE x rangeid rangeid [COUNT count]
XTRIM x (MAXLEN|MINID) [=|~] (count|id) [LIMIT count]
XREAD [COUNT count] STREAMS x id
XREAD [COUNT count] STREAMS x x id id
XGROUP CREATE x group (id|$) {MKSTREAM|ENTRIESREAD scount} #20
XGROUP SETID x group (id|$) [ENTRIESREAD scount]
XGROUP DESTROY x group #3
XGROUP CREATECONSUMER x group consumer
XGROUP DELCONSUMER x group consumer #3
XREADGROUP GROUP group consumer {COUNT count|NOACK} STREAMS x (>|id) #30
XACK x group (id)+
XPENDING x group
XPENDING x group {IDLE zero} rangeid rangeid count [consumer]
XCLAIM x group consumer 0 (id)+ {JUSTID|RETRYCOUNT count|FORCE|LASTID id|junk} #20
XAUTOCLAIM x group consumer 0 id [COUNT few] [JUSTID]
XSETID x id {ENTRIESADDED count|MAXDELETEDID id}
XINFO STREAM x
XINFO STREAM x FULL [COUNT count]
XINFO GROUPS x
XINFO CONSUMERS x group

PING [value] #1
ECHO value #1
HELLO (2|3|junk) #1
FLUSHDB [ASYNC|SYNC|junk] #1
`

// settings are the parameters that decide how values are kept.
var settings = []struct {
	name   string
	def    string
	values []string
	// once says that it is set before there are keys, and then no more.
	once bool
}{
	{"hash-max-listpack-entries", "512", []string{"0", "1", "2", "5", "32", "512"}, false},
	{"hash-max-listpack-value", "64", []string{"0", "1", "20", "64", "5000"}, false},
	{"list-max-listpack-size", "-2", []string{"-5", "-4", "-3", "-2", "-1", "0", "1", "2", "5", "128"}, false},
	{"list-compress-depth", "0", []string{"0", "0", "1", "2"}, false},
	{"set-max-intset-entries", "512", []string{"0", "1", "5", "512"}, false},
	{"zset-max-listpack-entries", "128", []string{"0", "1", "2", "5", "128"}, false},
	{"zset-max-listpack-value", "64", []string{"0", "1", "20", "64", "5000"}, false},
	{"stream-node-max-entries", "100", []string{"0", "1", "2", "5", "100"}, false},
	// Redis 7.0.15 writes beyond a node's memory when this becomes less, from 200 to 50
	// for example, and dies.
	{"stream-node-max-bytes", "4096", []string{"0", "50", "200", "4096"}, true},
	{"hll-sparse-max-bytes", "3000", []string{"0", "10", "100", "3000", "15000"}, false},
	{"rdbcompression", "yes", []string{"yes", "no"}, false},
}

// recipe makes the commands of one line.
type recipe struct {
	weight   int
	commands []node
}

// recipes parses the descriptions whose commands are among those that a server has,
// by their names in small letters.
func recipes(has map[string]bool) []recipe {
	var all []recipe
	for line := range strings.Lines(descriptions) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		r := recipe{weight: 10}
		if i := strings.LastIndex(line, " #"); i >= 0 {
			if n, ok := atoi(line[i+2:]); ok {
				r.weight, line = n, line[:i]
			}
		}
		known := true
		for c := range strings.SplitSeq(line, ";") {
			known = known && has[strings.ToLower(strings.Fields(c)[0])]
			r.commands = append(r.commands, parse(c))
		}
		if known {
			all = append(all, r)
		}
	}
	return all
}

func atoi(s string) (n int, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, s != ""
}
