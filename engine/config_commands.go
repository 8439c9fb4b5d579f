package engine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/probe"
)

// CONFIG, and what a changed parameter sets going.

func configGetCommand(c *client) {
	cfg := c.srv.config
	type entry struct {
		name  string // as asked for
		param *configParam
	}
	var found []entry
	seen := make(map[string]bool)
	add := func(name string, p *configParam) {
		if lower := strings.ToLower(name); !seen[lower] {
			seen[lower] = true
			found = append(found, entry{name, p})
		}
	}
	for _, pattern := range c.argv[2:] {
		if !strings.ContainsAny(string(pattern), "[*?") {
			if p := cfg.lookup(string(pattern)); p != nil {
				add(string(pattern), p)
			}
			continue
		}
		for _, p := range cfg.table.rows {
			for _, name := range []string{p.name, p.alias} {
				if name != "" && p.flags&paramHidden == 0 && stringmatchlen(pattern, []byte(name), true) {
					add(name, p)
				}
			}
		}
	}
	addReplyMapLen(c, len(found))
	for _, e := range found {
		addReplyBulkString(c, e.name)
		addReplyBulkString(c, cfg.get(e.param))
	}
}

// configSetCommand changes several parameters, or none.
func configSetCommand(c *client) {
	s := c.srv
	pairs := c.argv[2:]
	if len(pairs)%2 != 0 {
		addReplyErrorObject(c, shared.syntaxerr)
		return
	}
	var params []*configParam
	for i := 0; i < len(pairs); i += 2 {
		p := s.config.lookup(string(pairs[i]))
		if p == nil {
			addReplyErrorFormat(c, "Unknown option or number of arguments for CONFIG SET - '%s'", pairs[i])
			return
		}
		params = append(params, p)
	}
	fail := func(name, problem string) {
		addReplyErrorFormat(c, "CONFIG SET failed (possibly related to argument '%s') - %s", name, problem)
	}
	for i, p := range params {
		switch {
		case p.flags&paramImmutable != 0:
			fail(string(pairs[2*i]), "can't set immutable config")
			return
		case p.flags&paramProtected != 0 && !c.mayUse(s.config.EnableProtectedConfigs):
			fail(string(pairs[2*i]), "can't set protected config")
			return
		case slices.Contains(params[:i], p):
			fail(string(pairs[2*i]), "duplicate parameter")
			return
		}
	}
	old := make([]string, len(params))
	for i, p := range params {
		old[i] = s.config.get(p)
	}
	restore := func() {
		for i, p := range params {
			if problem := s.config.set(p, p.split(old[i])); problem != "" {
				s.log.warning("Failed restoring failed CONFIG SET command. Error setting %s to '%s': %s", p.name, old[i], problem)
			}
		}
		for _, p := range params {
			if p.apply == nil {
				continue
			}
			if problem := p.apply(s); problem != "" {
				s.log.warning("Failed applying restored failed CONFIG SET command: %s", problem)
			}
		}
	}
	for i, p := range params {
		if problem := s.config.set(p, p.split(string(pairs[2*i+1]))); problem != "" {
			restore()
			fail(p.name, problem)
			return
		}
	}
	for _, p := range params {
		if p.apply == nil {
			continue
		}
		if problem := p.apply(s); problem != "" {
			s.log.warning("Failed applying new configuration. Possibly related to new %s setting. Restoring previous settings.", p.name)
			restore()
			fail(p.name, problem)
			return
		}
	}
	for _, p := range params {
		if w := s.config.warning(p); w != "" {
			s.log.warning("%s", w)
		}
	}
	addReply(c, shared.ok)
}

// split cuts a value into a parameter's arguments.
func (p *configParam) split(value string) []string {
	if !p.several() {
		return []string{value}
	}
	return strings.Split(value, " ")
}

func configResetStatCommand(c *client) {
	c.srv.resetStats()
	addReply(c, shared.ok)
}

func configRewriteCommand(c *client) {
	s := c.srv
	if s.config.File == "" {
		addReplyError(c, "The server is running without a config file")
		return
	}
	if err := s.config.rewrite(); err != nil {
		s.log.warning("CONFIG REWRITE failed: %s", cError(err))
		addReplyErrorFormat(c, "Rewriting config file: %s", cError(err))
		return
	}
	s.log.warning("CONFIG REWRITE executed with success.")
	addReply(c, shared.ok)
}

func configHelpCommand(c *client) {
	addReplyHelp(c, []string{
		"GET <pattern>",
		"    Return parameters matching the glob-like <pattern> and their values.",
		"SET <directive> <value>",
		"    Set the configuration <directive> to <value>.",
		"RESETSTAT",
		"    Reset statistics reported by the INFO command.",
		"REWRITE",
		"    Rewrite the configuration file.",
	})
}

// applyHz keeps hz within what serverCron can do, as Redis does.
func (s *Server) applyHz() string {
	s.config.Hz = min(max(s.config.Hz, minHz), maxHz)
	s.cron.adaptHz(s)
	return ""
}

// applyBacklogSize keeps repl-backlog-size at CONFIG_REPL_BACKLOG_MIN_SIZE or
// more.
func (s *Server) applyBacklogSize() string {
	if n, _ := parseMemory(s.config.values["repl-backlog-size"]); n < 16<<10 {
		s.config.values["repl-backlog-size"] = strconv.Itoa(16 << 10)
	}
	return ""
}

// applyMarkers opens the markers, or leaves them to the kernel again.
func (s *Server) applyMarkers() string {
	always := s.config.Markers == markersAlways
	switch {
	case always && !s.holdsMarkers:
		probe.Hold()
	case !always && s.holdsMarkers:
		probe.Release()
	}
	s.holdsMarkers = always
	return ""
}

// applyMaxClients makes room for the descriptors of more clients.
func (s *Server) applyMaxClients() string {
	wanted := s.config.MaxClients
	s.adjustOpenFilesLimit()
	if s.config.MaxClients != wanted {
		return fmt.Sprintf("The operating system is not able to handle the specified number of clients, try with %d", s.config.MaxClients)
	}
	if size := wanted + reservedDescriptors; size > s.el.SetSize() {
		if err := s.el.Resize(size); err != nil {
			return "The event loop API used by Redis is not able to handle the specified number of clients"
		}
	}
	return ""
}

// minReservedDescriptors is CONFIG_MIN_RESERVED_FDS: descriptors that are not
// for clients.
const minReservedDescriptors = 32

// adjustOpenFilesLimit raises the number of files that the process may have
// open to what maxclients needs, or lowers maxclients to what it may.
func (s *Server) adjustOpenFilesLimit() {
	cfg := s.config
	need := uint64(cfg.MaxClients) + minReservedDescriptors
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		s.log.warning("Unable to obtain the current NOFILE limit (%s), assuming 1024 and setting the max clients configuration accordingly.", cError(err))
		limit.Cur = 1024
	}
	if limit.Cur >= need {
		return
	}
	had := limit.Cur
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: need, Max: max(need, limit.Max)})
	if err == nil {
		s.log.notice("Increased maximum number of open files to %d (it was originally set to %d).", need, had)
		return
	}
	if best := min(limit.Max, need); best > had && unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: best, Max: limit.Max}) == nil {
		had = best
	}
	asked := cfg.MaxClients
	cfg.MaxClients = max(1, int(had)-minReservedDescriptors)
	s.log.warning("You requested maxclients of %d requiring at least %d max file descriptors.", asked, need)
	s.log.warning("Server can't set maximum open files to %d because of OS error: %s.", need, cError(err))
	s.log.warning("Current maximum open files is %d. maxclients has been reduced to %d to compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'.", had, cfg.MaxClients)
}
