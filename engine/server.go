package engine

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/internal/ae"
	"github.com/redscope/redscope/engine/internal/dict"
	"github.com/redscope/redscope/engine/internal/monotonic"
	"github.com/redscope/redscope/engine/internal/quicklist"
	"github.com/redscope/redscope/engine/internal/slab"
	"github.com/redscope/redscope/engine/probe"
)

// Version is the Redis version whose behaviour the server has; INFO and HELLO
// report it, because clients decide by it what they may send.
const Version = "7.0.15"

// ReleaseVersion is the version of redscope itself.
const ReleaseVersion = "0.1.0"

// Server is one Redis: an event loop with its clients and databases. Everything
// in it belongs to the goroutine that called Serve, unless said otherwise.
type Server struct {
	config *Config
	hooks  Hooks
	el     *ae.EventLoop
	log    *logger

	holdsMarkers bool // see applyMarkers

	listeners []*listener
	firstAddr string
	tcp       struct { // what the TCP listeners are for
		bind []string
		port int
	}
	arena   *slab.Arena // the memory of all keys and short values
	db      []*redisDb
	objects objectTable // what entries of the databases refer to by number
	lists   *quicklist.Space
	scratch []byte     // see keepScratch
	refs    []dict.Ref // for who has to collect entries or positions
	sets    []setType  // see lookupSets
	scores  []float64  // of the ZADD under way
	payload []byte     // of the last DUMP, to be used again

	commands  commandTable
	clients   clients
	batch     commandBatch
	bits      bitScratch
	hll       hllScratch
	sort      sortScratch
	stat      stats
	cron      cron
	expire    expireCycle
	loopClock loopClock
	pause     pause
	blocked   blockedClients
	turn      *loopTurn // nil while nobody looks
	refused   int64     // commands, since the start
	streams   streamScratch
	peaks     peaks
	collector collector
	memory    struct { // bytes
		startup, peak int64
		purging       atomic.Bool // purgeMemory is at work on the heap
	}

	dirty         int64  // changes to the key space since the start
	sampledReads  uint64 // numbers the reads that SampleRead chose
	runID         string
	replicationID string // what INFO calls master_replid
	startTime     int64  // Unix time, s
	attackLogged  int64  // Unix time, ms, of the last warning by securityWarningCommand
	pidFile       string // written, and to be removed
	loopThread    int    // the thread id of the event loop, for assertLoopThread

	shutdownAsked atomic.Bool // set by any goroutine
}

// loopClock holds the time as the loop knows it: read once per turn and at the
// start of each command, so that nothing else asks the kernel.
type loopClock struct {
	ticks  int64  // of package monotonic
	unixMs int64  // Unix time, ms
	lru    uint32 // what a new value is marked with, see evict.go
}

// stats are the counters that INFO reports and CONFIG RESETSTAT clears.
type stats struct {
	commands            int64
	connections         int64
	rejectedConnections int64
	netInput            int64 // bytes
	netOutput           int64 // bytes
	readEvents          int64
	writeEvents         int64
	keyspaceHits        int64
	keyspaceMisses      int64
	expiredKeys         int64
	expiredStalePercent float64
	expiredTimeCap      int64 // active expire cycles cut short
	expireCycleTime     int64 // µs
	sanitizations       int64 // payloads checked deeply
	errorReplies        int64
	unexpectedErrors    int64
	queryBufferClosed   int64 // clients closed for client-query-buffer-limit
	outputBufferClosed  int64 // clients closed for client-output-buffer-limit
	maxInput, maxOutput int64 // largest query and reply buffers, bytes
	errors              map[string]int64
}

// New makes a server that listens as cfg says. hooks may be nil. The server
// answers once Serve is called.
func New(cfg *Config, hooks *Hooks) (*Server, error) {
	s := &Server{config: cfg, runID: newRunID(), replicationID: newRunID()}
	if hooks != nil {
		s.hooks = *hooks
	}
	s.resetStats()
	var err error
	if s.log, err = newLogger(cfg); err != nil {
		return nil, err
	}
	s.updateCachedTime()
	s.startTime = s.loopClock.unixMs / 1000
	s.populateCommandTable()
	if watching {
		probe.SetCommandNames(s.commands.names)
	}
	s.logStart()
	cfg.Hz = min(max(cfg.Hz, minHz), maxHz)
	s.adjustOpenFilesLimit()
	if s.arena, err = slab.New(arenaLimit); err != nil {
		return nil, fmt.Errorf("reserving address space for the keys: %w", err)
	}
	s.lists = quicklist.NewSpace(s.arena)
	s.db = make([]*redisDb, cfg.Databases)
	for i := range s.db {
		s.db[i] = &redisDb{id: i, dict: dict.New(s.arena), arena: s.arena, objects: &s.objects, lists: s.lists}
	}
	if s.el, err = ae.New(cfg.MaxClients + reservedDescriptors); err != nil {
		s.Close()
		return nil, err
	}
	s.el.Data, s.el.BeforeSleep, s.el.AfterSleep = s, beforeSleep, afterSleep
	s.clients.init()
	if err := s.listen(); err != nil {
		s.Close()
		return nil, err
	}
	s.firstAddr = s.listeners[0].addr
	s.writePidFile()
	s.cron.adaptHz(s)
	s.applyMarkers()
	s.el.CreateTimeEvent(1, serverCron)
	s.memory.startup, _ = s.usedMemory()
	for _, w := range cfg.warnings() {
		s.log.warning("%s", w)
	}
	s.log.notice("Running mode=standalone, port=%d.", cfg.Port)
	s.log.warning("Server initialized")
	return s, nil
}

// logStart writes what Redis writes first.
func (s *Server) logStart() {
	s.log.warning("oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo")
	s.log.warning("Redis version=%s, bits=%d, commit=00000000, modified=0, pid=%d, just started", Version, strconv.IntSize, os.Getpid())
	if s.config.File != "" {
		s.log.warning("Configuration loaded")
	} else {
		s.log.warning("Warning: no config file specified, using the default config. In order to specify a config file use %s /path/to/redis.conf", os.Args[0])
	}
	s.log.notice("redscope %s", ReleaseVersion)
}

// writePidFile leaves the process's number where pidfile says. As in Redis, a
// server that cannot do that works all the same.
func (s *Server) writePidFile() {
	path := s.config.PidFile
	if path == "" {
		return
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		s.log.warning("Cannot write the pid file: %v", err)
		return
	}
	s.pidFile = path
}

// resetStats sets to zero what CONFIG RESETSTAT does.
func (s *Server) resetStats() {
	s.stat = stats{errors: make(map[string]int64)}
	for _, cmd := range s.commands.byID {
		cmd.nanoseconds, cmd.calls, cmd.rejectedCalls, cmd.failedCalls, cmd.latency = 0, 0, 0, 0, nil
	}
	s.cron.rates = [3]rate{}
}

const (
	// arenaLimit is the address space asked for; it is not memory.
	arenaLimit = 32 << 30
	// reservedDescriptors is CONFIG_FDSET_INCR: what the server may need beside
	// its clients.
	reservedDescriptors = 128
)

// Serve runs the event loop on the calling goroutine until Shutdown or the
// command SHUTDOWN. The caller locks its goroutine to a thread; when that is
// main.main on the main thread, a stack walk ends as it does in Redis.
func (s *Server) Serve() { ae.Main(s.el) }

// Shutdown makes Serve return soon. Any goroutine may call it.
func (s *Server) Shutdown() {
	s.shutdownAsked.Store(true)
	s.el.Wake()
}

// Close gives back what New took. Call it when Serve has returned.
func (s *Server) Close() {
	for _, l := range s.listeners {
		l.close()
	}
	s.listeners = nil
	if s.pidFile != "" {
		os.Remove(s.pidFile)
	}
	for _, c := range s.clients.all() {
		freeClient(c)
	}
	if s.el != nil {
		s.el.Close()
	}
	if s.holdsMarkers {
		probe.Release()
		s.holdsMarkers = false
	}
	s.arena.Close()
}

// updateCachedTime reads the clock for everything that happens until the next
// command or turn.
func (s *Server) updateCachedTime() { s.setCachedTime(monotonic.Ticks()) }

func (s *Server) setCachedTime(ticks int64) {
	s.loopClock.ticks = ticks
	s.loopClock.unixMs = monotonic.Unix(ticks) / 1e6
	s.loopClock.lru = s.newValueMark()
}

// beforeSleep runs before the loop asks for events: what the turn has left over
// is done here, above all the replies.
//
//go:noinline
func beforeSleep(el *ae.EventLoop) {
	s := el.Data.(*Server)
	if s.shutdownAsked.Load() {
		s.log.warning("User requested shutdown...")
		s.prepareForShutdown()
		return
	}
	if s.config.ActiveExpire {
		activeExpireCycle(s, expireCycleFast)
	}
	if len(s.blocked.ready) > 0 { // a stream has expired
		handleClientsBlockedOnKeys(s)
	}
	if len(s.clients.postponed) > 0 {
		resumePostponedClients(s)
	}
	if s.blocked.waiting() {
		handleBlockedClientsTimeout(s)
	}
	if len(s.blocked.unblocked) > 0 {
		processUnblockedClients(s)
	}
	handleClientsWithPendingWrites(s)
	if watching && s.turn != nil {
		s.turn.end()
	}
	freeClientsInAsyncFreeQueue(s)
}

// afterSleep runs when the loop comes back with events.
//
//go:noinline
func afterSleep(el *ae.EventLoop) {
	s := el.Data.(*Server)
	s.updateCachedTime()
	if watching && (s.turn != nil || probe.LoopTurnEnabled()) {
		s.beginTurn()
	}
}

// started runs once, from the first serverCron: Serve itself must stay small
// enough to be inlined.
func (s *Server) started() {
	s.loopThread = unix.Gettid()
	s.log.notice("Ready to accept connections")
}

// prepareForShutdown ends the loop after the replies that are waiting, and
// disconnects everybody.
func (s *Server) prepareForShutdown() {
	handleClientsWithPendingWrites(s)
	if watching && s.turn != nil {
		s.turn.end()
	}
	for _, l := range s.listeners {
		s.el.DeleteFileEvent(l.fd, ae.Readable)
		l.close()
	}
	s.listeners = nil
	for _, c := range s.clients.all() {
		freeClient(c)
	}
	if s.pidFile != "" {
		s.log.notice("Removing the pid file.")
		os.Remove(s.pidFile)
		s.pidFile = ""
	}
	s.log.warning("Redis is now ready to exit, bye bye...")
	s.el.Stop()
}

// processCommand makes every check that comes before a command, in Redis's
// order, and calls it or puts it off. It returns false when the client is not to
// be read from any more, or not now.
//
//go:noinline
func processCommand(c *client) bool {
	s := c.srv
	if watching {
		probe.BeginCommand(c.argv)
	}
	c.cmd = s.lookupCommandArgs(c.argv)
	c.lastcmd = c.cmd
	if watching && c.cmd != nil {
		probe.NameCommand(c.cmd.mark)
	}
	why := c.refusal()
	if s.pause.until != 0 && why == nil && s.paused(c.cmd) {
		c.postpone()
		if watching {
			probe.EndCommand()
		}
		return false
	}
	var mark commandMark
	if watching && (probe.CommandStartEnabled() || probe.CommandDoneEnabled()) {
		mark.start(c)
	}
	if why != nil {
		c.refuse(why)
	} else {
		call(c)
	}
	if len(s.blocked.ready) > 0 {
		handleClientsBlockedOnKeys(s)
	}
	if watching && probe.CommandDoneEnabled() {
		mark.done(c)
	}
	if watching {
		probe.EndCommand()
	}
	return c.flags&clientCloseASAP == 0
}

// refusal makes the checks on the client's command. It returns what to do in its
// stead, which for one that failed is to tell the client, or nil.
func (c *client) refusal() func(*client) {
	cmd := c.cmd
	if cmd == nil && isSecurityTrap(c.argv[0]) {
		return securityWarningCommand
	}
	if equalFoldASCII(c.argv[0], "quit") {
		return quitCommand
	}
	if cmd == nil {
		return rejectUnknown
	}
	if argc := len(c.argv); cmd.arity > 0 && argc != cmd.arity || argc < -cmd.arity {
		return rejectArity
	}
	if cmd.flags&cmdProtected != 0 && !c.mayUse(c.srv.config.EnableDebugCommand) {
		return rejectDebug
	}
	if c.mustAuthenticate() && cmd.flags&cmdNoAuth == 0 {
		return rejectNoAuth
	}
	return nil
}

// refuse does what refusal asked for.
func (c *client) refuse(why func(*client)) {
	s := c.srv
	t, errors, start, reply := s.turn, s.stat.errorReplies, int64(0), len(c.buf)
	if watching && t != nil {
		t.beginCommand()
		start = monotonic.Ticks()
	}
	why(c)
	if s.stat.errorReplies <= errors { // QUIT and the like are not counted
		return
	}
	s.refused++
	if watching && t != nil {
		t.refuse(c, start, reply)
	}
}

// mayUse applies enable-debug-command and its like: no, yes or local.
func (c *client) mayUse(access protectedAccess) bool {
	switch access {
	case protectedYes:
		return true
	case protectedLocal:
		return c.isLocal()
	}
	return false
}

// call runs a command that has passed the checks, and keeps the accounts: its
// time and its failures.
//
//go:noinline
func call(c *client) {
	s, cmd := c.srv, c.cmd
	s.assertLoopThread()
	if watching && s.turn != nil {
		s.turn.beginCommand()
	}
	errors, reply := s.stat.errorReplies, len(c.buf)
	start := monotonic.Ticks()
	s.setCachedTime(start)
	c.trace.beginProc(start)
	cmd.proc(c)
	end := monotonic.Ticks()
	c.trace.endProc(end)
	if duration := monotonic.Nanos(end - start); c.flags&clientBlocked != 0 {
		c.blocked.cmd, c.blocked.nanoseconds = cmd, duration // counted when it ends
	} else {
		failed := s.stat.errorReplies > errors // fewer after CONFIG RESETSTAT
		cmd.count(s, duration, failed)
		if watching && s.turn != nil {
			s.turn.called(c, start, end, reply, failed)
		}
	}
	s.stat.commands++
	c.trace.endCall()
}

// count enters a call that has ended, which took so many ns, in the statistics.
func (cmd *command) count(s *Server, ns int64, failed bool) {
	cmd.nanoseconds += ns
	cmd.calls++
	if s.config.LatencyTracking {
		cmd.addLatency(ns)
	}
	if failed {
		cmd.failedCalls++
	}
}

// addLatency enters the time of a call, in ns, in the command's histogram.
func (cmd *command) addLatency(ns int64) {
	if cmd.latency == nil {
		cmd.latency = new(latencyHistogram)
	}
	cmd.latency.add(ns)
}

// serverCron does what is due now and then, hz times a second, and returns the
// milliseconds until it wants to be called again.
//
//go:noinline
func serverCron(el *ae.EventLoop) int {
	s := el.Data.(*Server)
	if s.cron.loops == 0 {
		s.started()
	}
	s.assertLoopThread()
	start := monotonic.Ticks()
	monotonic.Recalibrate()
	s.updateCachedTime()
	s.cron.sample(s)
	s.rotatePeaks()
	s.cron.adaptHz(s)
	clientsCron(s)
	databasesCron(s)
	freeClientsInAsyncFreeQueue(s)
	s.paceCollector()
	s.cron.loops++
	if watching && probe.LoopWorkEnabled() {
		passWork(probe.WorkCron, start, monotonic.Ticks(), 0)
	}
	return 1000 / s.cron.hz
}

// cron is the state of serverCron.
type cron struct {
	hz    int // as configured, or more when there are many clients
	loops int64

	sampled int64 // when the rates were last taken, Unix ms
	rates   [3]rate
}

// The rates that INFO calls instantaneous.
const (
	rateCommands = iota
	rateInput    // bytes
	rateOutput   // bytes
)

// rate is a running mean over the last samples, as trackInstantaneousMetric.
type rate struct {
	last    int64
	samples [16]int64 // per second
	next    int
}

func (r *rate) add(total, milliseconds int64) {
	r.samples[r.next] = (total - r.last) * 1000 / milliseconds
	r.next = (r.next + 1) % len(r.samples)
	r.last = total
}

// perSecond returns the mean of the samples.
func (r *rate) perSecond() int64 {
	var sum int64
	for _, v := range r.samples {
		sum += v
	}
	return sum / int64(len(r.samples))
}

// sample takes the rates, and the memory's peak, every 100 ms.
func (k *cron) sample(s *Server) {
	passed := s.loopClock.unixMs - k.sampled
	if passed >= 0 && passed < 100 {
		return
	}
	if k.sampled != 0 && passed > 0 {
		k.rates[rateCommands].add(s.stat.commands, passed)
		k.rates[rateInput].add(s.stat.netInput, passed)
		k.rates[rateOutput].add(s.stat.netOutput, passed)
	}
	k.sampled = s.loopClock.unixMs
	used, _ := s.usedMemory()
	s.memory.peak = max(s.memory.peak, used)
}

// The bounds of hz, and how many clients one serverCron may look at before
// dynamic-hz raises it (CONFIG_MIN_HZ, CONFIG_MAX_HZ, MAX_CLIENTS_PER_CLOCK_TICK).
const (
	minHz           = 1
	maxHz           = 500
	clientsPerCheck = 200
)

func (k *cron) adaptHz(s *Server) {
	k.hz = min(max(s.config.Hz, minHz), maxHz)
	if s.config.DynamicHz {
		for len(s.clients.list)/k.hz > clientsPerCheck && k.hz < maxHz {
			k.hz *= 2
		}
		k.hz = min(k.hz, maxHz)
	}
}

// newRunID returns 40 random hexadecimal digits.
func newRunID() string {
	var b [20]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
