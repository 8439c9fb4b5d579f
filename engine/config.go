package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/redscope/redscope/engine/internal/resp"
)

// Config is the server's configuration. DefaultConfig and LoadConfig make one;
// its zero value is not usable.
type Config struct {
	Bind                   []string
	Port                   int  // 0 is none, unless AnyPort
	AnyPort                bool // with Port 0: let the kernel choose one; not a parameter, callers set it
	UnixSocket             string
	UnixSocketPerm         os.FileMode
	TCPBacklog             int
	TCPKeepAlive           int // s
	Timeout                int // s; 0 never closes idle clients
	ProtectedMode          bool
	RequirePass            string
	EnableDebugCommand     protectedAccess
	EnableProtectedConfigs protectedAccess
	MaxClients             int
	Databases              int
	Hz                     int
	DynamicHz              bool
	ActiveRehashing        bool
	ActiveExpire           bool // DEBUG SET-ACTIVE-EXPIRE
	ActiveExpireEffort     int  // 1 to 10
	ProtoMaxBulkLen        int64
	HLLSparseMaxBytes      int64 // a HyperLogLog that would be longer becomes dense
	MaxmemoryPolicy        maxmemoryPolicy
	LFULogFactor           int
	LFUDecayTime           int // min; 0: never
	ZsetMaxListpackEntries int64
	ZsetMaxListpackValue   int64 // bytes of a member
	QueryBufferLimit       int64
	RDBCompression         bool // DUMP compresses strings
	SanitizeDumpPayload    sanitizeMode
	OutputBufferLimits     [3]outputBufferLimit
	ListMaxListpackSize    int   // elements in a node of a list, or a limit of bytes from -1 (4 KiB) to -5 (64 KiB)
	ListCompressDepth      int   // nodes at each end of a list that are not compressed; 0: none is
	HashMaxListpackEntries int64 // fields
	HashMaxListpackValue   int64 // bytes of the longest field or value
	SetMaxIntsetEntries    int64 // members
	StreamNodeMaxBytes     int64 // of a listpack of entries; 0 is no limit
	StreamNodeMaxEntries   int64 // in a listpack, deleted ones included; 0 is no limit
	LogLevel               logLevel
	LogFile                string
	PidFile                string
	LatencyTracking        bool // keep a histogram of each command's times, for INFO latencystats

	// Markers says when commands pass the markers of engine/probe.
	Markers markersMode
	// OTLPEndpoint is where traces go; "" leaves it to the environment.
	OTLPEndpoint string
	// TraceFile is where traces go besides, as OTLP/JSON; "" is nowhere.
	TraceFile string
	// TraceQueryText says whether spans show commands with their first key.
	TraceQueryText bool
	// TraceSample is the share of reads to trace, a number from 0 to 1; "" leaves
	// it to the environment. Of these four, the engine does nothing but keep them.
	TraceSample string

	// File is the absolute path of the configuration file; "" when there is none.
	File string

	table   *configTable
	values  map[string]string // of the parameters that nothing acts on, by name
	loading bool              // reading the configuration: lines may add up
	ignored []string          // directives that are no parameters and do nothing yet
}

// protectedAccess says who may use a dangerous command.
type protectedAccess int

const (
	protectedNo protectedAccess = iota
	protectedYes
	protectedLocal // only who connects from this machine
)

// markersMode says when commands pass the markers.
type markersMode int

const (
	markersAuto   markersMode = iota // while the kernel knows of an observer
	markersAlways                    // also for observers that it does not know of
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

// configTable finds the rows of config_table.go.
type configTable struct {
	rows   []*configParam
	byName map[string]*configParam // aliases as well
}

func newConfigTable() *configTable {
	t := &configTable{rows: configRows(), byName: make(map[string]*configParam)}
	for _, p := range t.rows {
		t.byName[p.name] = p
		if p.alias != "" {
			t.byName[p.alias] = p
		}
	}
	return t
}

func (cfg *Config) lookup(name string) *configParam {
	return cfg.table.byName[strings.ToLower(name)]
}

// DefaultConfig is what redis-server 7.0.15 does without a configuration, save
// that it listens on the loopback addresses only, and does not promise to write
// to disk what it does not write.
func DefaultConfig() *Config {
	cfg := &Config{table: newConfigTable(), values: make(map[string]string), ActiveExpire: true}
	for _, p := range cfg.table.rows {
		cfg.assign(p, p.def)
	}
	return cfg
}

// set gives a parameter a value and returns what is wrong with it, or "".
func (cfg *Config) set(p *configParam, args []string) (problem string) {
	text, problem := cfg.canonical(p, args)
	if problem != "" {
		return problem
	}
	cfg.assign(p, text)
	return ""
}

// canonical checks a value and returns it as CONFIG GET tells it.
func (cfg *Config) canonical(p *configParam, args []string) (text, problem string) {
	if p.kind == paramSpecial {
		return p.parse(cfg, args)
	}
	if p.kind == paramFlagSet {
		return canonicalFlags(p, args)
	}
	if len(args) != 1 {
		return "", problemArguments
	}
	value := args[0]
	switch p.kind {
	case paramBool:
		if lower := strings.ToLower(value); lower == "yes" || lower == "no" {
			return lower, ""
		}
		return "", "argument must be 'yes' or 'no'"
	case paramEnum:
		lower := strings.ToLower(value)
		if slices.Contains(p.values, lower) || lower == p.unlisted && lower != "" {
			return lower, ""
		}
		return "", "argument(s) must be one of the following: " + strings.Join(p.values, ", ")
	case paramInt, paramOctal, paramMemory, paramPercentOrMemory:
		return p.canonicalNumber(value)
	}
	return value, ""
}

func (p *configParam) canonicalNumber(value string) (text, problem string) {
	var n int64
	ok := true
	switch p.kind {
	case paramInt:
		if n, ok = resp.ParseInt([]byte(value)); !ok {
			return "", "argument couldn't be parsed into an integer"
		}
	case paramOctal:
		n, err := strconv.ParseInt(value, 8, 64)
		if err != nil {
			return "", "argument couldn't be parsed as an octal number"
		}
		if n < p.min || n > p.max {
			return "", fmt.Sprintf("argument must be between %o and %o inclusive", p.min, p.max)
		}
		return strconv.FormatInt(n, 8), ""
	case paramPercentOrMemory:
		if share, found := strings.CutSuffix(value, "%"); found {
			if n, ok = resp.ParseInt([]byte(share)); ok && n >= 0 {
				if n > -p.min {
					return "", fmt.Sprintf("percentage argument must be less or equal to %d", -p.min)
				}
				return strconv.FormatInt(n, 10) + "%", ""
			}
			ok = false
		} else {
			n, ok = parseMemory(value)
		}
		if !ok {
			return "", "argument must be a memory or percent value"
		}
		return strconv.FormatInt(n, 10), ""
	default:
		if n, ok = parseMemory(value); !ok {
			return "", "argument must be a memory value"
		}
	}
	if n < p.min || n > p.max {
		return "", fmt.Sprintf("argument must be between %d and %d inclusive", p.min, p.max)
	}
	return strconv.FormatInt(n, 10), ""
}

func canonicalFlags(p *configParam, args []string) (text, problem string) {
	on := make([]bool, len(p.values))
	for _, a := range args {
		i := slices.Index(p.values, strings.ToLower(a))
		if i < 0 {
			return "", "argument(s) must be one of the following: " + strings.Join(p.values, ", ")
		}
		on[i] = true
	}
	var names []string
	for i, name := range p.values[1:] {
		if on[i+1] {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return p.values[0], ""
	}
	if slices.Contains(names, "save") && slices.Contains(names, "nosave") {
		return "", "shutdown options SAVE and NOSAVE can't be used simultaneously"
	}
	return strings.Join(names, " "), ""
}

// parseMemory reads an amount of memory as Redis's memtoull does: digits and a
// unit, where kb, mb and gb count by 1024 and k, m and g by 1000.
func parseMemory(value string) (int64, bool) {
	digits := len(value) - len(strings.TrimLeft(value, "0123456789"))
	var n, unit int64
	if digits > 0 { // without digits it is 0, as for strtoull
		var err error
		if n, err = strconv.ParseInt(value[:digits], 10, 64); err != nil {
			return 0, false
		}
	}
	switch strings.ToLower(value[digits:]) {
	case "", "b":
		unit = 1
	case "k":
		unit = 1000
	case "kb":
		unit = 1 << 10
	case "m":
		unit = 1000 * 1000
	case "mb":
		unit = 1 << 20
	case "g":
		unit = 1000 * 1000 * 1000
	case "gb":
		unit = 1 << 30
	default:
		return 0, false
	}
	return n * unit, n*unit/unit == n
}

// assign stores a value that canonical returned.
func (cfg *Config) assign(p *configParam, text string) {
	if p.assign != nil {
		p.assign(cfg, text)
		return
	}
	if p.field == nil {
		cfg.values[p.name] = text
		return
	}
	switch f := p.field(cfg).(type) {
	case *bool:
		*f = text == "yes"
	case *int:
		if p.kind == paramEnum {
			*f = slices.Index(append(slices.Clone(p.values), p.unlisted), text)
			return
		}
		*f, _ = strconv.Atoi(text)
	case *int64:
		*f, _ = strconv.ParseInt(text, 10, 64)
	case *string:
		*f = text
	case *[]string:
		*f = strings.Fields(text)
	default:
		panic("engine: parameter " + p.name + " has a field of unknown type")
	}
}

// get returns a parameter's value as CONFIG GET tells it.
func (cfg *Config) get(p *configParam) string {
	if p.text != nil {
		return p.text(cfg)
	}
	if p.field == nil {
		return cfg.values[p.name]
	}
	switch f := p.field(cfg).(type) {
	case *bool:
		return yesNo(*f)
	case *int:
		if p.kind == paramEnum {
			return append(slices.Clone(p.values), p.unlisted)[*f]
		}
		return strconv.Itoa(*f)
	case *int64:
		return strconv.FormatInt(*f, 10)
	case *string:
		return *f
	default:
		return strings.Join(*f.(*[]string), " ")
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// warning says what is asked for by a parameter's value and not done, or "".
func (cfg *Config) warning(p *configParam) string {
	if p.missing == "" || cfg.get(p) == p.def {
		return ""
	}
	return p.name + " is not available yet: " + p.missing
}

// warnings are the lines for the log at the start.
func (cfg *Config) warnings() []string {
	var lines []string
	for _, p := range cfg.table.rows {
		if w := cfg.warning(p); w != "" {
			lines = append(lines, w)
		}
	}
	for _, directive := range cfg.ignored {
		lines = append(lines, directive+" is not available yet: the line has no effect")
	}
	return lines
}

// The command line.

// ErrHelp and ErrVersion are LoadConfig's answers to --help and --version: the
// caller prints Usage or VersionLine and is done.
var (
	ErrHelp    = errors.New("help requested")
	ErrVersion = errors.New("version requested")
)

// Usage is what --help prints.
const Usage = `Usage: server [/path/to/redis.conf] [--name value ...] [-]

A Redis-compatible server. Every parameter of redis.conf can be given as an
option; what comes later wins. A lone - reads redis.conf from standard input.

Options of redscope's own:
  --otlp-endpoint WHERE  send OpenTelemetry spans there: host:port for gRPC,
                         http://host:port for HTTP (OTEL_EXPORTER_OTLP_ENDPOINT)
  --trace-file FILE      write the spans to a file, as OTLP/JSON
  --trace-query-text yes show the command and its first key in the spans
  --markers always       open the markers for tools that raise no semaphore
  --trace-sample SHARE   the share of reads that are traced, from 0 to 1
                         (OTEL_TRACES_SAMPLER, or else 0.01)

Examples:
  server                                    listen on 127.0.0.1 port 6379
  server --port 7777 --bind '*' --requirepass secret
  server /etc/redis/redis.conf --loglevel verbose
  echo 'maxclients 128' | server -
  server --port 0 --unixsocket /tmp/redis.sock
`

// VersionLine is what --version prints, in the form of redis-server's.
func VersionLine() string {
	return fmt.Sprintf("Redis server v=%s sha=00000000:0 malloc=%s bits=%d build=redscope-%s\n", Version, allocatorName, strconv.IntSize, ReleaseVersion)
}

// ConfigError is why a configuration was refused, in the form in which
// redis-server prints it: several lines when a line of it is at fault.
type ConfigError string

func (e ConfigError) Error() string { return string(e) }

// LoadConfig reads a command line, without the program's name, as redis-server
// does: an optional file or a - for standard input, then --name value …, each as
// if it were a line at the end of the file. Its errors are complete messages
// for stderr.
func LoadConfig(args []string) (*Config, error) {
	cfg := DefaultConfig()
	if len(args) > 0 {
		switch args[0] {
		case "-v", "--version":
			return nil, ErrVersion
		case "-h", "--help":
			return nil, ErrHelp
		}
	}
	var text strings.Builder
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return nil, err
		}
		cfg.File = path
		if err := readConfigFiles(&text, path); err != nil {
			return nil, err
		}
		args = args[1:]
	}
	options, stdin := optionLines(args)
	if stdin {
		b, err := io.ReadAll(os.Stdin)
		if err != nil {
			return nil, fmt.Errorf("reading the configuration from standard input: %w", err)
		}
		text.Write(b)
	}
	if options != "" {
		text.WriteString("\n" + options)
	}
	cfg.loading = true
	if err := cfg.load(text.String(), 0); err != nil {
		return nil, err
	}
	cfg.loading = false
	if cfg.values["aclfile"] != "" {
		return nil, errors.New("aclfile is not available yet, and everybody would be let in: remove it, and use requirepass")
	}
	return cfg, nil
}

// optionLines turns options into lines of a configuration. An option begins
// with -- unless it stands where the value of the one before is due.
func optionLines(args []string) (lines string, stdin bool) {
	var b strings.Builder
	valueDue := false
	for i, a := range args {
		last := i == len(args)-1
		isOption := strings.HasPrefix(a, "--") && !valueDue
		switch {
		case a == "-" && (i == 0 || last):
			stdin = true
		case isOption:
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(a[2:] + " ")
			words, _ := resp.SplitArgs([]byte(a))
			valueDue = len(words) == 1
			// --save alone means no save points.
			if strings.EqualFold(a, "--save") && (last || strings.HasPrefix(args[i+1], "--")) {
				b.WriteString(`""`)
				valueDue = false
			}
		default:
			b.WriteString(resp.Quote(a) + " ")
			valueDue = false
		}
	}
	return b.String(), stdin
}

// readConfigFiles appends the file, or the files that a glob matches, to text.
func readConfigFiles(text *strings.Builder, path string) error {
	files := []string{path}
	if strings.ContainsAny(path, "*?[") {
		var err error
		if files, err = filepath.Glob(path); err != nil {
			return configErrorf("Fatal error, can't open config file '%s': bad pattern", path)
		}
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return configErrorf("Fatal error, can't open config file '%s': %s", f, cError(err))
		}
		text.Write(b)
	}
	return nil
}

func configErrorf(format string, args ...any) ConfigError {
	return ConfigError(fmt.Sprintf(format, args...))
}

// maxIncludes bounds how deep files may include each other.
const maxIncludes = 16

// load applies the lines of a configuration.
func (cfg *Config) load(text string, depth int) error {
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.Trim(lines.Text(), " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		problem, err := cfg.loadLine(line, depth)
		if err != nil {
			return err
		}
		if problem != "" {
			return configErrorf("\n*** FATAL CONFIG FILE ERROR (Redis %s) ***\nReading the configuration file, at line %d\n>>> '%s'\n%s", Version, n, line, problem)
		}
	}
	return nil
}

// loadLine applies one line. problem is about the line, err about a file that
// it includes.
func (cfg *Config) loadLine(line string, depth int) (problem string, err error) {
	words, ok := resp.SplitArgs([]byte(line))
	if !ok {
		return "Unbalanced quotes in configuration line", nil
	}
	if len(words) == 0 {
		return "", nil
	}
	name := strings.ToLower(string(words[0]))
	args := make([]string, len(words)-1)
	for i, w := range words[1:] {
		args[i] = string(w)
	}
	if p := cfg.lookup(name); p != nil {
		if !p.several() && len(args) != 1 {
			return problemArguments, nil
		}
		// client-output-buffer-limit and the like may be given as one word.
		if p.several() && len(args) == 1 && args[0] != "" {
			if split, ok := resp.SplitArgs(words[1]); ok {
				args = args[:0]
				for _, w := range split {
					args = append(args, string(w))
				}
			}
		}
		return cfg.set(p, args), nil
	}
	switch {
	case name == "include" && len(args) == 1:
		if depth >= maxIncludes {
			return "too many files include each other", nil
		}
		var text strings.Builder
		if err := readConfigFiles(&text, args[0]); err != nil {
			return "", err
		}
		return "", cfg.load(text.String(), depth+1)
	case name == "rename-command" && len(args) == 2:
		return "Renaming commands is not available yet, and the old name would answer: remove the line, and protect the server with requirepass and bind", nil
	case name == "user" && !isOpenUser(args):
		return "ACL users are not available yet, and everybody would be let in: remove the line, and use requirepass", nil
	case name == "loadmodule" && len(args) >= 1:
		return "Modules are not available: remove the line", nil
	case name == "user":
		return "", nil
	case strings.Contains(name, "."): // a module's
		if !slices.Contains(cfg.ignored, name) {
			cfg.ignored = append(cfg.ignored, name)
		}
		return "", nil
	case name == "sentinel":
		return "sentinel directive while not in sentinel mode", nil
	}
	return "Bad directive or wrong number of arguments", nil
}

// isOpenUser recognises the line that Redis writes when there are no users but
// the default one, who may do everything.
func isOpenUser(args []string) bool {
	if len(args) == 0 || args[0] != "default" {
		return false
	}
	for _, rule := range args[1:] {
		if !slices.Contains([]string{"on", "nopass", "sanitize-payload", "skip-sanitize-payload", "~*", "&*", "+@all", "allkeys", "allchannels", "allcommands"}, rule) {
			return false
		}
	}
	return true
}

// cError words an error as the C library does, which begins with a capital.
func cError(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
