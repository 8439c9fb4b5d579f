package engine

import (
	"os"
	"strconv"
)

// Config is the server's configuration.
type Config struct {
	Bind               []string
	Port               int  // 0 is none, unless AnyPort
	AnyPort            bool // with Port 0: let the kernel choose a port
	UnixSocket         string
	UnixSocketPerm     os.FileMode
	TCPBacklog         int
	TCPKeepAlive       int // s
	Timeout            int // s; 0 never closes idle clients
	ProtectedMode      bool
	RequirePass        string
	EnableDebugCommand protectedAccess
	MaxClients         int
	Databases          int
	Hz                 int
	DynamicHz          bool
	ActiveRehashing    bool
	ActiveExpire       bool // DEBUG SET-ACTIVE-EXPIRE
	ActiveExpireEffort int  // 1 to 10
	ProtoMaxBulkLen    int64
	QueryBufferLimit   int64
	OutputBufferLimits [3]outputBufferLimit
	LogLevel           logLevel
	LogFile            string
}

// protectedAccess says who may use a dangerous command.
type protectedAccess int

const (
	protectedNo protectedAccess = iota
	protectedYes
	protectedLocal // only who connects from this machine
)

// outputBufferLimit is one class of client-output-buffer-limit; 0 is no limit.
type outputBufferLimit struct {
	Hard        int64 // bytes
	Soft        int64 // bytes
	SoftSeconds int64
}

const (
	outputNormal = iota
	outputReplica
	outputPubSub
)

// DefaultConfig is what redis-server 7.0.15 does without a configuration.
func DefaultConfig() *Config {
	return &Config{
		Bind:               []string{"127.0.0.1", "-::1"},
		Port:               6379,
		TCPBacklog:         511,
		TCPKeepAlive:       300,
		ProtectedMode:      true,
		MaxClients:         10000,
		Databases:          16,
		Hz:                 10,
		DynamicHz:          true,
		ActiveRehashing:    true,
		ActiveExpire:       true,
		ActiveExpireEffort: 1,
		ProtoMaxBulkLen:    512 << 20,
		QueryBufferLimit:   1 << 30,
		OutputBufferLimits: [3]outputBufferLimit{{}, {256 << 20, 64 << 20, 60}, {32 << 20, 8 << 20, 60}},
		LogLevel:           logNotice,
	}
}

// LoadConfig reads a command line as redis-server does.
func LoadConfig(args []string) (*Config, error) {
	cfg := DefaultConfig()
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == "--port" {
			cfg.Port, _ = strconv.Atoi(args[i+1])
			cfg.AnyPort = cfg.Port == 0
		}
	}
	return cfg, nil
}
