package engine

import (
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// This file declares every parameter of the configuration once: redis.conf, the
// command line, CONFIG GET, SET and REWRITE and the warnings about what is not
// available yet all read the rows below. Names, kinds, bounds and defaults are
// those of redis-server 7.0.15, and a test compares each with a live one; ours
// are at the end.

// configParam is one row.
type configParam struct {
	name, alias string
	kind        paramKind
	def         string   // as the configuration would say it
	min, max    int64    // of a number; inclusive
	values      []string // of an enumeration
	unlisted    string   // one more value, of a later Redis, that errors do not offer
	flags       paramFlags

	// field returns a pointer to where Config keeps the value: *bool, *int,
	// *int64, *string or *[]string. Without it, Config keeps the
	// value as text, and nothing acts on it.
	field func(*Config) any

	// parse checks the arguments of a paramSpecial and returns the value as
	// CONFIG GET tells it, or what is wrong with it.
	parse func(cfg *Config, args []string) (text, problem string)
	// assign and text take the place of field for a value of another type.
	assign func(cfg *Config, text string)
	text   func(cfg *Config) string

	// apply makes a change by CONFIG SET take effect, where storing it is not
	// enough. It returns what is wrong, or "".
	apply func(*Server) (problem string)

	// missing says what a value other than the default does not do yet.
	missing string
}

type paramKind uint8

const (
	paramBool            paramKind = iota // yes or no
	paramInt                              // a decimal integer
	paramOctal                            // an integer written in octal
	paramMemory                           // bytes, with a unit if wanted: 1gb
	paramPercentOrMemory                  // or, with %, a share of maxmemory
	paramEnum                             // one of values
	paramFlagSet                          // some of values
	paramString                           // anything
	paramSpecial                          // what parse accepts, over several arguments
)

type paramFlags uint8

const (
	paramImmutable paramFlags = 1 << iota // not by CONFIG SET
	paramProtected                        // by CONFIG SET only when enable-protected-configs allows it
	paramHidden                           // not in CONFIG GET with a pattern
	paramSeveral                          // takes more than one argument
)

// several reports whether the parameter takes more than one argument.
func (p *configParam) several() bool { return p.flags&paramSeveral != 0 }

const noDisk = "nothing is written to disk"

// configRows returns the rows in alphabetical order. It is a function and not a
// variable because the effects reach the server that holds the table.
func configRows() []*configParam {
	yes, no := "yes", "no"
	access := []string{"no", "yes", "local"}
	signals := []string{"default", "save", "nosave", "now", "force"}
	const ports = 65535
	const maxInt = math.MaxInt32
	const maxUint = math.MaxUint32
	const maxLong = math.MaxInt64
	return []*configParam{
		{name: "acl-pubsub-default", kind: paramEnum, def: "resetchannels", values: []string{"allchannels", "resetchannels"}},
		{name: "aclfile", kind: paramString, flags: paramImmutable},
		{name: "acllog-max-len", kind: paramInt, def: "128", max: maxLong},
		{name: "active-defrag-cycle-max", kind: paramInt, def: "25", min: 1, max: 99},
		{name: "active-defrag-cycle-min", kind: paramInt, def: "1", min: 1, max: 99},
		{name: "active-defrag-ignore-bytes", kind: paramMemory, def: "104857600", min: 1, max: maxLong},
		{name: "active-defrag-max-scan-fields", kind: paramInt, def: "1000", min: 1, max: maxLong},
		{name: "active-defrag-threshold-lower", kind: paramInt, def: "10", max: 1000},
		{name: "active-defrag-threshold-upper", kind: paramInt, def: "100", max: 1000},
		{name: "active-expire-effort", kind: paramInt, def: "1", min: 1, max: 10, field: func(c *Config) any { return &c.ActiveExpireEffort }},
		{name: "activedefrag", kind: paramBool, def: no, missing: "memory is not defragmented"},
		{name: "activerehashing", kind: paramBool, def: yes, field: func(c *Config) any { return &c.ActiveRehashing }},
		{name: "always-show-logo", kind: paramBool, def: no, flags: paramImmutable},
		{name: "aof-disable-auto-gc", kind: paramBool, def: no},
		{name: "aof-load-truncated", kind: paramBool, def: yes},
		{name: "aof-rewrite-incremental-fsync", kind: paramBool, def: yes},
		{name: "aof-timestamp-enabled", kind: paramBool, def: no},
		{name: "aof-use-rdb-preamble", kind: paramBool, def: yes},
		{name: "aof_rewrite_cpulist", kind: paramString, flags: paramImmutable},
		{name: "appenddirname", kind: paramSpecial, def: "appendonlydir", flags: paramImmutable, parse: plainName("appenddirname", "dirname")},
		{name: "appendfilename", kind: paramSpecial, def: "appendonly.aof", flags: paramImmutable, parse: plainName("appendfilename", "filename")},
		{name: "appendfsync", kind: paramEnum, def: "everysec", values: []string{"everysec", "always", "no"}},
		{name: "appendonly", kind: paramBool, def: no, missing: noDisk},
		{name: "auto-aof-rewrite-min-size", kind: paramMemory, def: "67108864", max: maxLong},
		{name: "auto-aof-rewrite-percentage", kind: paramInt, def: "100", max: maxInt},
		{name: "bgsave_cpulist", kind: paramString, flags: paramImmutable},
		{name: "bind", kind: paramSpecial, flags: paramSeveral, def: "127.0.0.1 -::1", parse: parseBind, field: func(c *Config) any { return &c.Bind }, apply: (*Server).relisten},
		{name: "bind-source-addr", kind: paramString},
		{name: "bio_cpulist", kind: paramString, flags: paramImmutable},
		{name: "busy-reply-threshold", alias: "lua-time-limit", kind: paramInt, def: "5000", max: maxLong},
		{
			name: "client-output-buffer-limit", kind: paramSpecial, flags: paramSeveral,
			def:    "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
			parse:  parseOutputBufferLimits,
			assign: func(c *Config, text string) { c.OutputBufferLimits = outputBufferLimitsOf(text) },
			text:   func(c *Config) string { return outputBufferLimitsText(&c.OutputBufferLimits) },
		},
		{name: "client-query-buffer-limit", kind: paramMemory, def: "1073741824", min: 1 << 20, max: maxLong, field: func(c *Config) any { return &c.QueryBufferLimit }},
		{name: "cluster-allow-pubsubshard-when-down", kind: paramBool, def: yes},
		{name: "cluster-allow-reads-when-down", kind: paramBool, def: no},
		{name: "cluster-allow-replica-migration", kind: paramBool, def: yes},
		{name: "cluster-announce-bus-port", kind: paramInt, def: "0", max: ports},
		{name: "cluster-announce-hostname", kind: paramSpecial, parse: parseHostname},
		{name: "cluster-announce-ip", kind: paramString},
		{name: "cluster-announce-port", kind: paramInt, def: "0", max: ports},
		{name: "cluster-announce-tls-port", kind: paramInt, def: "0", max: ports},
		{name: "cluster-config-file", kind: paramString, def: "nodes.conf", flags: paramImmutable},
		{name: "cluster-enabled", kind: paramBool, def: no, flags: paramImmutable, missing: "the server runs on its own"},
		{name: "cluster-link-sendbuf-limit", kind: paramMemory, def: "0", max: maxLong},
		{name: "cluster-migration-barrier", kind: paramInt, def: "1", max: maxInt},
		{name: "cluster-node-timeout", kind: paramInt, def: "15000", max: maxLong},
		{name: "cluster-port", kind: paramInt, def: "0", max: ports, flags: paramImmutable},
		{name: "cluster-preferred-endpoint-type", kind: paramEnum, def: "ip", values: []string{"ip", "hostname", "unknown-endpoint"}},
		{name: "cluster-replica-no-failover", alias: "cluster-slave-no-failover", kind: paramBool, def: no},
		{name: "cluster-replica-validity-factor", alias: "cluster-slave-validity-factor", kind: paramInt, def: "10", max: maxInt},
		{name: "cluster-require-full-coverage", kind: paramBool, def: yes},
		{name: "crash-log-enabled", kind: paramBool, def: yes},
		{name: "crash-memcheck-enabled", kind: paramBool, def: yes},
		{name: "daemonize", kind: paramBool, def: no, flags: paramImmutable, missing: "the server stays in the foreground; start it from a systemd unit (Type=exec) or with &"},
		{name: "databases", kind: paramInt, def: "16", min: 1, max: maxInt, flags: paramImmutable, field: func(c *Config) any { return &c.Databases }},
		{name: "dbfilename", kind: paramSpecial, def: "dump.rdb", flags: paramProtected, parse: plainName("dbfilename", "filename")},
		{
			name: "dir", kind: paramSpecial, flags: paramProtected, parse: parseDir,
			assign: func(c *Config, text string) {}, text: func(*Config) string { return workingDirectory() },
		},
		{name: "disable-thp", kind: paramBool, def: yes, flags: paramImmutable},
		{name: "dynamic-hz", kind: paramBool, def: yes, field: func(c *Config) any { return &c.DynamicHz }},
		{name: "enable-debug-command", kind: paramEnum, def: no, values: access, flags: paramImmutable, field: func(c *Config) any { return (*int)(&c.EnableDebugCommand) }},
		{name: "enable-module-command", kind: paramEnum, def: no, values: access, flags: paramImmutable},
		{name: "enable-protected-configs", kind: paramEnum, def: no, values: access, flags: paramImmutable, field: func(c *Config) any { return (*int)(&c.EnableProtectedConfigs) }},
		{name: "hash-max-listpack-entries", alias: "hash-max-ziplist-entries", kind: paramInt, def: "512", max: maxLong, field: func(c *Config) any { return &c.HashMaxListpackEntries }},
		{name: "hash-max-listpack-value", alias: "hash-max-ziplist-value", kind: paramMemory, def: "64", max: maxLong, field: func(c *Config) any { return &c.HashMaxListpackValue }},
		{name: "hll-sparse-max-bytes", kind: paramMemory, def: "3000", max: maxLong, field: func(c *Config) any { return &c.HLLSparseMaxBytes }},
		{name: "hz", kind: paramInt, def: "10", max: maxInt, field: func(c *Config) any { return &c.Hz }, apply: (*Server).applyHz},
		{name: "ignore-warnings", kind: paramString},
		{name: "io-threads", kind: paramInt, def: "1", min: 1, max: 128, flags: paramImmutable, missing: "one thread does all input and output"},
		{name: "io-threads-do-reads", kind: paramBool, def: no, flags: paramImmutable},
		{name: "jemalloc-bg-thread", kind: paramBool, def: yes},
		{name: "key-load-delay", kind: paramInt, def: "0", min: math.MinInt32, max: maxInt, flags: paramHidden},
		{name: "latency-monitor-threshold", kind: paramInt, def: "0", max: maxLong, missing: "latency events are not recorded"},
		{name: "latency-tracking", kind: paramBool, def: yes, field: func(c *Config) any { return &c.LatencyTracking }},
		{name: "latency-tracking-info-percentiles", kind: paramSpecial, flags: paramSeveral, def: "50 99 99.9", parse: parsePercentiles},
		{name: "lazyfree-lazy-eviction", kind: paramBool, def: no},
		{name: "lazyfree-lazy-expire", kind: paramBool, def: no},
		{name: "lazyfree-lazy-server-del", kind: paramBool, def: no},
		{name: "lazyfree-lazy-user-del", kind: paramBool, def: no},
		{name: "lazyfree-lazy-user-flush", kind: paramBool, def: no},
		{name: "lfu-decay-time", kind: paramInt, def: "1", max: maxInt, field: func(c *Config) any { return &c.LFUDecayTime }},
		{name: "lfu-log-factor", kind: paramInt, def: "10", max: maxInt, field: func(c *Config) any { return &c.LFULogFactor }},
		{name: "list-compress-depth", kind: paramInt, def: "0", max: maxInt, field: func(c *Config) any { return &c.ListCompressDepth }},
		{name: "list-max-listpack-size", alias: "list-max-ziplist-size", kind: paramInt, def: "-2", min: math.MinInt32, max: maxInt, field: func(c *Config) any { return &c.ListMaxListpackSize }},
		{name: "logfile", kind: paramString, flags: paramImmutable, field: func(c *Config) any { return &c.LogFile }},
		{name: "loglevel", kind: paramEnum, def: "notice", values: []string{"debug", "verbose", "notice", "warning"}, unlisted: "nothing", field: func(c *Config) any { return (*int)(&c.LogLevel) }},
		{name: "markers", kind: paramEnum, def: "auto", values: []string{"auto", "always"}, field: func(c *Config) any { return (*int)(&c.Markers) }, apply: (*Server).applyMarkers},
		{name: "masterauth", kind: paramString},
		{name: "masteruser", kind: paramString},
		{name: "maxclients", kind: paramInt, def: "10000", min: 1, max: maxUint, field: func(c *Config) any { return &c.MaxClients }, apply: (*Server).applyMaxClients},
		{name: "maxmemory", kind: paramMemory, def: "0", max: maxLong, missing: "memory is not limited and nothing is evicted"},
		{name: "maxmemory-clients", kind: paramPercentOrMemory, def: "0", min: -100, max: maxLong, missing: "clients are not evicted"},
		{name: "maxmemory-eviction-tenacity", kind: paramInt, def: "10", max: 100},
		{name: "maxmemory-policy", kind: paramEnum, def: "noeviction", values: maxmemoryPolicies, field: func(c *Config) any { return (*int)(&c.MaxmemoryPolicy) }, apply: (*Server).applyMaxmemoryPolicy},
		{name: "maxmemory-samples", kind: paramInt, def: "5", min: 1, max: maxInt},
		{name: "min-replicas-max-lag", alias: "min-slaves-max-lag", kind: paramInt, def: "10", max: maxInt},
		{name: "min-replicas-to-write", alias: "min-slaves-to-write", kind: paramInt, def: "0", max: maxInt, missing: "writes do not wait for replicas"},
		{name: "no-appendfsync-on-rewrite", kind: paramBool, def: no},
		{name: "notify-keyspace-events", kind: paramSpecial, parse: parseKeyspaceEvents, missing: "no events are published"},
		{name: "oom-score-adj", kind: paramEnum, def: no, values: []string{"no", "yes", "relative", "absolute"}, missing: "the kernel's score is left alone"},
		{name: "oom-score-adj-values", kind: paramSpecial, flags: paramSeveral, def: "0 200 800", parse: parseOOMScores},
		{name: "otlp-endpoint", kind: paramString, flags: paramImmutable, field: func(c *Config) any { return &c.OTLPEndpoint }},
		{name: "pidfile", kind: paramString, flags: paramImmutable, field: func(c *Config) any { return &c.PidFile }},
		{name: "port", kind: paramInt, def: "6379", max: ports, field: func(c *Config) any { return &c.Port }, apply: (*Server).relisten},
		{name: "proc-title-template", kind: paramSpecial, parse: parseTitleTemplate, def: "{title} {listen-addr} {server-mode}"},
		{name: "propagation-error-behavior", kind: paramEnum, def: "ignore", values: []string{"ignore", "panic", "panic-on-replicas"}},
		{name: "protected-mode", kind: paramBool, def: yes, field: func(c *Config) any { return &c.ProtectedMode }},
		{name: "proto-max-bulk-len", kind: paramMemory, def: "536870912", min: 1 << 20, max: maxLong, field: func(c *Config) any { return &c.ProtoMaxBulkLen }},
		{name: "rdb-del-sync-files", kind: paramBool, def: no},
		{name: "rdb-key-save-delay", kind: paramInt, def: "0", min: math.MinInt32, max: maxInt, flags: paramHidden},
		{name: "rdb-save-incremental-fsync", kind: paramBool, def: yes},
		{name: "rdbchecksum", kind: paramBool, def: yes, flags: paramImmutable},
		{name: "rdbcompression", kind: paramBool, def: yes, field: func(c *Config) any { return &c.RDBCompression }},
		{name: "repl-backlog-size", kind: paramMemory, def: "1048576", min: 1, max: maxLong, apply: (*Server).applyBacklogSize},
		{name: "repl-backlog-ttl", kind: paramInt, def: "3600", max: maxLong},
		{name: "repl-disable-tcp-nodelay", kind: paramBool, def: no},
		{name: "repl-diskless-load", kind: paramEnum, def: "disabled", values: []string{"disabled", "on-empty-db", "swapdb"}},
		{name: "repl-diskless-sync", kind: paramBool, def: yes},
		{name: "repl-diskless-sync-delay", kind: paramInt, def: "5", max: maxInt},
		{name: "repl-diskless-sync-max-replicas", kind: paramInt, def: "0", max: maxInt},
		{name: "repl-ping-replica-period", alias: "repl-ping-slave-period", kind: paramInt, def: "10", min: 1, max: maxInt},
		{name: "repl-timeout", kind: paramInt, def: "60", min: 1, max: maxInt},
		{name: "replica-announce-ip", alias: "slave-announce-ip", kind: paramString},
		{name: "replica-announce-port", alias: "slave-announce-port", kind: paramInt, def: "0", max: ports},
		{name: "replica-announced", kind: paramBool, def: yes},
		{name: "replica-ignore-disk-write-errors", kind: paramBool, def: no},
		{name: "replica-ignore-maxmemory", alias: "slave-ignore-maxmemory", kind: paramBool, def: yes},
		{name: "replica-lazy-flush", alias: "slave-lazy-flush", kind: paramBool, def: no},
		{name: "replica-priority", alias: "slave-priority", kind: paramInt, def: "100", max: maxInt},
		{name: "replica-read-only", alias: "slave-read-only", kind: paramBool, def: yes},
		{name: "replica-serve-stale-data", alias: "slave-serve-stale-data", kind: paramBool, def: yes},
		{name: "replicaof", alias: "slaveof", kind: paramSpecial, flags: paramImmutable | paramSeveral, parse: parseReplicaOf, missing: "nothing is copied from the master"},
		{name: "requirepass", kind: paramString, field: func(c *Config) any { return &c.RequirePass }},
		{name: "sanitize-dump-payload", kind: paramEnum, def: no, values: []string{"no", "yes", "clients"}, field: func(c *Config) any { return (*int)(&c.SanitizeDumpPayload) }},
		{name: "save", kind: paramSpecial, flags: paramSeveral, parse: parseSave, missing: noDisk},
		{name: "server_cpulist", kind: paramString, flags: paramImmutable},
		{name: "set-max-intset-entries", kind: paramInt, def: "512", max: maxLong, field: func(c *Config) any { return &c.SetMaxIntsetEntries }},
		{name: "set-proc-title", kind: paramBool, def: yes, flags: paramImmutable},
		{name: "shutdown-on-sigint", kind: paramFlagSet, flags: paramSeveral, def: "default", values: signals},
		{name: "shutdown-on-sigterm", kind: paramFlagSet, flags: paramSeveral, def: "default", values: signals},
		{name: "shutdown-timeout", kind: paramInt, def: "10", max: maxInt},
		{name: "slowlog-log-slower-than", kind: paramInt, def: "10000", min: -1, max: maxLong},
		{name: "slowlog-max-len", kind: paramInt, def: "128", max: maxLong},
		{name: "socket-mark-id", kind: paramInt, def: "0", max: maxUint, flags: paramImmutable},
		{name: "stop-writes-on-bgsave-error", kind: paramBool, def: yes},
		{name: "stream-node-max-bytes", kind: paramMemory, def: "4096", max: maxLong, field: func(c *Config) any { return &c.StreamNodeMaxBytes }},
		{name: "stream-node-max-entries", kind: paramInt, def: "100", max: maxLong, field: func(c *Config) any { return &c.StreamNodeMaxEntries }},
		{name: "supervised", kind: paramEnum, def: no, values: []string{"upstart", "systemd", "auto", "no"}, flags: paramImmutable, missing: "no supervisor is told that the server is ready"},
		{name: "syslog-enabled", kind: paramBool, def: no, flags: paramImmutable, missing: "the log goes to logfile or standard output only"},
		{name: "syslog-facility", kind: paramEnum, def: "local0", values: []string{"user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}, flags: paramImmutable},
		{name: "syslog-ident", kind: paramString, def: "redis", flags: paramImmutable},
		{name: "tcp-backlog", kind: paramInt, def: "511", max: maxInt, flags: paramImmutable, field: func(c *Config) any { return &c.TCPBacklog }},
		{name: "tcp-keepalive", kind: paramInt, def: "300", max: maxInt, field: func(c *Config) any { return &c.TCPKeepAlive }},
		{name: "timeout", kind: paramInt, def: "0", max: maxInt, field: func(c *Config) any { return &c.Timeout }},
		{name: "tls-auth-clients", kind: paramEnum, def: yes, values: []string{"no", "yes", "optional"}},
		{name: "tls-ca-cert-dir", kind: paramString},
		{name: "tls-ca-cert-file", kind: paramString},
		{name: "tls-cert-file", kind: paramString},
		{name: "tls-ciphers", kind: paramString},
		{name: "tls-ciphersuites", kind: paramString},
		{name: "tls-client-cert-file", kind: paramString},
		{name: "tls-client-key-file", kind: paramString},
		{name: "tls-client-key-file-pass", kind: paramString},
		{name: "tls-cluster", kind: paramBool, def: no},
		{name: "tls-dh-params-file", kind: paramString},
		{name: "tls-key-file", kind: paramString},
		{name: "tls-key-file-pass", kind: paramString},
		{name: "tls-port", kind: paramInt, def: "0", max: ports, missing: "the server does not listen for TLS"},
		{name: "tls-prefer-server-ciphers", kind: paramBool, def: no},
		{name: "tls-protocols", kind: paramString},
		{name: "tls-replication", kind: paramBool, def: no},
		{name: "tls-session-cache-size", kind: paramInt, def: "20480", max: maxInt},
		{name: "tls-session-cache-timeout", kind: paramInt, def: "300", max: maxInt},
		{name: "tls-session-caching", kind: paramBool, def: yes},
		{name: "trace-file", kind: paramString, flags: paramImmutable, field: func(c *Config) any { return &c.TraceFile }},
		{name: "trace-query-text", kind: paramBool, def: no, flags: paramImmutable, field: func(c *Config) any { return &c.TraceQueryText }},
		{name: "trace-sample", kind: paramSpecial, parse: parseShare, flags: paramImmutable, field: func(c *Config) any { return &c.TraceSample }},
		{name: "tracking-table-max-keys", kind: paramInt, def: "1000000", max: maxLong},
		{name: "unixsocket", kind: paramString, flags: paramImmutable, field: func(c *Config) any { return &c.UnixSocket }},
		{
			name: "unixsocketperm", kind: paramOctal, def: "0", max: 0o777, flags: paramImmutable,
			assign: func(c *Config, text string) {
				n, _ := strconv.ParseUint(text, 8, 32)
				c.UnixSocketPerm = os.FileMode(n)
			},
			text: func(c *Config) string { return strconv.FormatUint(uint64(c.UnixSocketPerm), 8) },
		},
		{name: "use-exit-on-panic", kind: paramBool, def: no, flags: paramHidden},
		{name: "zset-max-listpack-entries", alias: "zset-max-ziplist-entries", kind: paramInt, def: "128", max: maxLong, field: func(c *Config) any { return &c.ZsetMaxListpackEntries }},
		{name: "zset-max-listpack-value", alias: "zset-max-ziplist-value", kind: paramMemory, def: "64", max: maxLong, field: func(c *Config) any { return &c.ZsetMaxListpackValue }},
	}
}

// The parameters with a grammar of their own.

const problemArguments = "wrong number of arguments"

func parseBind(_ *Config, args []string) (string, string) {
	if len(args) > 16 { // CONFIG_BINDADDR_MAX
		return "", "Too many bind addresses specified."
	}
	if len(args) == 1 && args[0] == "" {
		return "", ""
	}
	return strings.Join(args, " "), ""
}

func parseHostname(_ *Config, args []string) (string, string) {
	switch host := args[0]; {
	case len(args) != 1:
		return "", problemArguments
	case len(host) >= 256:
		return "", "Hostnames must be less than 256 characters"
	case strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.')
	}):
		return "", "Hostnames may only contain alphanumeric characters, hyphens or dots"
	default:
		return host, ""
	}
}

// plainName makes the parse function of a parameter that names a file in dir.
func plainName(param, kind string) func(*Config, []string) (string, string) {
	return func(_ *Config, args []string) (string, string) {
		if len(args) != 1 {
			return "", problemArguments
		}
		if strings.Contains(args[0], "/") {
			return "", param + " can't be a path, just a " + kind
		}
		return args[0], ""
	}
}

// parseDir changes the directory at once, as Redis does: files that later lines
// name are relative to it.
func parseDir(_ *Config, args []string) (string, string) {
	if len(args) != 1 {
		return "", problemArguments
	}
	if err := os.Chdir(args[0]); err != nil {
		return "", cError(err)
	}
	return args[0], ""
}

func workingDirectory() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	return dir
}

func parseTitleTemplate(_ *Config, args []string) (string, string) {
	rest := args[0]
	for _, known := range []string{"title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"} {
		rest = strings.ReplaceAll(rest, "{"+known+"}", "x")
	}
	if rest == "" || strings.ContainsAny(rest, "{}") {
		return "", "template format is invalid or contains unknown variables"
	}
	return args[0], ""
}

// parseShare accepts a number from 0 to 1, or nothing.
func parseShare(_ *Config, args []string) (string, string) {
	share, err := strconv.ParseFloat(args[0], 64)
	if args[0] != "" && (err != nil || !(share >= 0 && share <= 1)) {
		return "", "argument must be between 0 and 1"
	}
	return args[0], ""
}

func parsePercentiles(_ *Config, args []string) (string, string) {
	if len(args) == 1 && args[0] == "" {
		return "", ""
	}
	texts := make([]string, len(args))
	for i, a := range args {
		f, err := strconv.ParseFloat(a, 64)
		if err != nil {
			return "", "Invalid latency-tracking-info-percentiles parameters"
		}
		if !(f >= 0 && f <= 100) {
			return "", "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
		}
		texts[i] = strconv.FormatFloat(f, 'g', -1, 64)
	}
	return strings.Join(texts, " "), ""
}

// The classes of key-space events, in the order in which CONFIG GET tells them.
const keyspaceEventClasses = "g$lshzxetdnKEm"

func parseKeyspaceEvents(_ *Config, args []string) (string, string) {
	if len(args) != 1 {
		return "", problemArguments
	}
	on := map[rune]bool{}
	for _, class := range args[0] {
		switch {
		case class == 'A':
			for _, c := range "g$lshzxetd" {
				on[c] = true
			}
		case strings.ContainsRune(keyspaceEventClasses, class):
			on[class] = true
		default:
			return "", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'."
		}
	}
	var text []rune
	all := true
	for _, c := range "g$lshzxetd" {
		all = all && on[c]
	}
	if all {
		text = append(text, 'A')
	}
	for _, c := range keyspaceEventClasses {
		if on[c] && !(all && strings.ContainsRune("g$lshzxetd", c)) {
			text = append(text, c)
		}
	}
	return string(text), ""
}

func parseOOMScores(_ *Config, args []string) (string, string) {
	if len(args) != 3 {
		return "", problemArguments
	}
	for _, a := range args {
		if n, err := strconv.Atoi(a); err != nil || n < -2000 || n > 2000 {
			return "", "Invalid oom-score-adj-values, elements must be between -2000 and 2000."
		}
	}
	return strings.Join(args, " "), ""
}

func parseReplicaOf(_ *Config, args []string) (string, string) {
	if len(args) != 2 {
		return "", problemArguments
	}
	if strings.EqualFold(args[0], "no") && strings.EqualFold(args[1], "one") {
		return "", ""
	}
	if port, err := strconv.Atoi(args[1]); err != nil || port < 0 || port > 65535 {
		return "", "Invalid master port"
	}
	return args[0] + " " + args[1], ""
}

// parseSave reads save points. In a configuration each line adds to those of
// the lines before.
func parseSave(cfg *Config, args []string) (string, string) {
	if len(args) == 1 && args[0] == "" {
		return "", ""
	}
	if len(args)%2 != 0 {
		return "", "Invalid save parameters"
	}
	texts := make([]string, len(args))
	for i, a := range args {
		n, err := strconv.ParseInt(strings.TrimSpace(a), 10, 64)
		if err != nil || n < int64(1-i%2) {
			return "", "Invalid save parameters"
		}
		texts[i] = strconv.FormatInt(n, 10)
	}
	text := strings.Join(texts, " ")
	if old := cfg.values["save"]; cfg.loading && old != "" {
		text = old + " " + text
	}
	return text, ""
}

// outputClasses are the classes of client-output-buffer-limit, by index. Redis
// writes the second as slave and reads replica too.
var outputClasses = []string{outputNormal: "normal", outputReplica: "slave", outputPubSub: "pubsub"}

func outputBufferLimitsText(limits *[3]outputBufferLimit) string {
	var text []string
	for i, l := range limits {
		text = append(text, outputClasses[i], strconv.FormatInt(l.Hard, 10), strconv.FormatInt(l.Soft, 10), strconv.FormatInt(l.SoftSeconds, 10))
	}
	return strings.Join(text, " ")
}

func outputBufferLimitsOf(text string) (limits [3]outputBufferLimit) {
	for words := range slices.Chunk(strings.Fields(text), 4) {
		l := &limits[slices.Index(outputClasses, words[0])]
		l.Hard, _ = strconv.ParseInt(words[1], 10, 64)
		l.Soft, _ = strconv.ParseInt(words[2], 10, 64)
		l.SoftSeconds, _ = strconv.ParseInt(words[3], 10, 64)
	}
	return limits
}

// parseOutputBufferLimits changes the classes that the arguments name.
func parseOutputBufferLimits(cfg *Config, args []string) (string, string) {
	if len(args)%4 != 0 {
		return "", "Wrong number of arguments in buffer limit configuration."
	}
	limits := cfg.OutputBufferLimits
	for words := range slices.Chunk(args, 4) {
		name := strings.ToLower(words[0])
		if name == "replica" {
			name = "slave"
		}
		class := slices.Index(outputClasses, name)
		if class < 0 {
			return "", "Invalid client class specified in buffer limit configuration."
		}
		hard, ok1 := parseMemory(words[1])
		soft, ok2 := parseMemory(words[2])
		seconds, err := strconv.ParseInt(words[3], 10, 64)
		if !ok1 || !ok2 || err != nil || seconds < 0 {
			return "", "Error in hard, soft or soft_seconds setting in buffer limit configuration."
		}
		limits[class] = outputBufferLimit{hard, soft, seconds}
	}
	return outputBufferLimitsText(&limits), ""
}
