package engine

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/redscope/redscope/engine/internal/monotonic"
)

// INFO. The names and the order of the fields are those of redis-server 7.0.15;
// what the server does not have yet is reported as an idle Redis reports it.

// allocatorName is what INFO and --version call the allocator.
const allocatorName = "slab"

// infoSection is one section: its title and what writes its lines.
type infoSection struct {
	name, title string
	byDefault   bool // in INFO without arguments
	write       func(*Server, *infoText)
}

func infoSections() []infoSection {
	return []infoSection{
		{"server", "Server", true, (*Server).infoServer},
		{"clients", "Clients", true, (*Server).infoClients},
		{"memory", "Memory", true, (*Server).infoMemory},
		{"persistence", "Persistence", true, (*Server).infoPersistence},
		{"stats", "Stats", true, (*Server).infoStats},
		{"replication", "Replication", true, (*Server).infoReplication},
		{"cpu", "CPU", true, (*Server).infoCPU},
		{"modules", "Modules", true, func(*Server, *infoText) {}},
		{"commandstats", "Commandstats", false, (*Server).infoCommandStats},
		{"errorstats", "Errorstats", true, (*Server).infoErrorStats},
		{"latencystats", "Latencystats", false, (*Server).infoLatencyStats},
		{"cluster", "Cluster", true, func(_ *Server, t *infoText) { t.add("cluster_enabled", 0) }},
		{"keyspace", "Keyspace", true, (*Server).infoKeyspace},
		{"redscope", "Redscope", true, (*Server).infoRedscope},
	}
}

func infoCommand(c *client) {
	wanted := make(map[string]bool)
	all := false
	for _, arg := range c.argv[1:] {
		switch name := strings.ToLower(string(arg)); name {
		case "default":
			wanted["default"] = true
		case "all", "everything":
			all = true
		default:
			wanted[name] = true
		}
	}
	if len(c.argv) == 1 {
		wanted["default"] = true
	}
	var t infoText
	for _, section := range infoSections() {
		if !all && !wanted[section.name] && !(section.byDefault && wanted["default"]) {
			continue
		}
		if t.Len() > 0 {
			t.WriteString("\r\n")
		}
		t.WriteString("# " + section.title + "\r\n")
		section.write(c.srv, &t)
	}
	addReplyVerbatim(c, t.String(), "txt")
}

// infoText gathers lines.
type infoText struct{ strings.Builder }

func (t *infoText) add(name string, value any) { fmt.Fprintf(t, "%s:%v\r\n", name, value) }

func (t *infoText) fraction(name string, value float64, digits int) {
	fmt.Fprintf(t, "%s:%.*f\r\n", name, digits, value)
}

// zeros adds fields of features that do nothing yet.
func (t *infoText) zeros(names ...string) {
	for _, n := range names {
		t.add(n, 0)
	}
}

// memory adds an amount of bytes, and again in a form for people.
func (t *infoText) memory(name string, bytes int64) {
	t.add(name, bytes)
	t.add(name+"_human", humanBytes(bytes))
}

// humanBytes writes an amount as Redis's bytesToHuman.
func humanBytes(n int64) string {
	switch f := float64(n); {
	case n < 1<<10:
		return strconv.FormatInt(n, 10) + "B"
	case n < 1<<20:
		return fmt.Sprintf("%.2fK", f/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.2fM", f/(1<<20))
	case n < 1<<40:
		return fmt.Sprintf("%.2fG", f/(1<<30))
	default:
		return fmt.Sprintf("%.2fT", f/(1<<40))
	}
}

func (s *Server) infoServer(t *infoText) {
	var name unix.Utsname
	unix.Uname(&name)
	executable, _ := os.Executable()
	uptime := s.loopClock.unixMs/1000 - s.startTime
	t.add("redis_version", Version)
	t.add("redis_git_sha1", "00000000")
	t.add("redis_git_dirty", 0)
	t.add("redis_build_id", "redscope-"+ReleaseVersion)
	t.add("redis_mode", "standalone")
	t.add("os", fmt.Sprintf("%s %s %s", unix.ByteSliceToString(name.Sysname[:]), unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:])))
	t.add("arch_bits", strconv.IntSize)
	t.add("monotonic_clock", monotonic.Source())
	t.add("multiplexing_api", "epoll")
	t.add("atomicvar_api", "sync/atomic")
	t.add("gcc_version", runtime.Version())
	t.add("process_id", os.Getpid())
	t.add("process_supervised", "no")
	t.add("run_id", s.runID)
	t.add("tcp_port", s.config.Port)
	t.add("server_time_usec", monotonicUnixMicroseconds())
	t.add("uptime_in_seconds", uptime)
	t.add("uptime_in_days", uptime/86400)
	t.add("hz", s.cron.hz)
	t.add("configured_hz", s.config.Hz)
	t.add("lru_clock", s.lruClock())
	t.add("executable", executable)
	t.add("config_file", s.config.File)
	t.add("io_threads_active", 0)
}

// monotonicUnixMicroseconds is the time now, not when the command began.
func monotonicUnixMicroseconds() int64 { return monotonic.Unix(monotonic.Ticks()) / 1000 }

func (s *Server) infoClients(t *infoText) {
	input, output := s.recentPeaks()
	t.add("connected_clients", len(s.clients.list))
	t.zeros("cluster_connections")
	t.add("maxclients", s.config.MaxClients)
	t.add("client_recent_max_input_buffer", input)
	t.add("client_recent_max_output_buffer", output)
	t.add("blocked_clients", len(s.clients.postponed)+s.blocked.count)
	t.zeros("tracking_clients", "clients_in_timeout_table")
}

// heapMetrics names what usedMemory asks the runtime for. Reading it does not
// stop the world, as runtime.ReadMemStats would.
var heapMetrics = []string{"/memory/classes/heap/objects:bytes", "/memory/classes/heap/unused:bytes"}

// heapMemory returns the bytes of the Go heap: of objects, and of the spans that
// hold them beyond that.
func heapMemory() (objects, unused int64) {
	var samples [2]metrics.Sample
	for i, name := range heapMetrics {
		samples[i].Name = name
	}
	metrics.Read(samples[:])
	return int64(samples[0].Value.Uint64()), int64(samples[1].Value.Uint64())
}

// usedMemory is what the keys and everything else occupy, in bytes, and what the
// heap holds unused beyond that.
func (s *Server) usedMemory() (used, unused int64) {
	objects, unused := heapMemory()
	// The arena counts large values, and they are objects of the heap too.
	return s.arena.Used() + max(0, objects-s.arena.LargeBytes()), unused
}

// residentMemory is what the process holds of the machine's memory, in bytes.
func residentMemory() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func (s *Server) infoMemory(t *infoText) {
	o := s.memoryOverhead()
	used, active, rss := o.used, o.active, o.resident

	t.memory("used_memory", used)
	t.memory("used_memory_rss", rss)
	t.memory("used_memory_peak", o.peak)
	fmt.Fprintf(t, "used_memory_peak_perc:%.2f%%\r\n", 100*ratio(used, o.peak))
	t.add("used_memory_overhead", o.overhead)
	t.add("used_memory_startup", o.startup)
	t.add("used_memory_dataset", o.dataset)
	fmt.Fprintf(t, "used_memory_dataset_perc:%.2f%%\r\n", 100*ratio(o.dataset, o.sinceStartup()))
	t.add("allocator_allocated", used)
	t.add("allocator_active", active)
	t.add("allocator_resident", rss)
	t.memory("total_system_memory", systemMemory())
	t.zeros("used_memory_lua", "used_memory_vm_eval")
	t.add("used_memory_lua_human", humanBytes(0))
	t.zeros("used_memory_scripts_eval", "number_of_cached_scripts", "number_of_functions", "number_of_libraries", "used_memory_vm_functions")
	t.memory("used_memory_vm_total", 0)
	t.zeros("used_memory_functions")
	t.memory("used_memory_scripts", 0)
	limit, _ := strconv.ParseInt(s.config.values["maxmemory"], 10, 64)
	t.memory("maxmemory", limit)
	t.add("maxmemory_policy", maxmemoryPolicies[s.config.MaxmemoryPolicy])
	t.fraction("allocator_frag_ratio", ratio(active, used), 2)
	t.add("allocator_frag_bytes", active-used)
	t.fraction("allocator_rss_ratio", ratio(rss, active), 2)
	t.add("allocator_rss_bytes", rss-active)
	t.fraction("rss_overhead_ratio", 1, 2)
	t.zeros("rss_overhead_bytes")
	t.fraction("mem_fragmentation_ratio", ratio(rss, used), 2)
	t.add("mem_fragmentation_bytes", rss-used)
	t.zeros("mem_not_counted_for_evict", "mem_replication_backlog", "mem_total_replication_buffers", "mem_clients_slaves")
	t.add("mem_clients_normal", o.clients)
	t.zeros("mem_cluster_links", "mem_aof_buffer")
	t.add("mem_allocator", allocatorName)
	t.zeros("active_defrag_running", "lazyfree_pending_objects", "lazyfreed_objects")
}

// infoRedscope is what Redis has no field for. The processor time of Go's
// collector is the runtime's own estimate, as of its last cycle.
func (s *Server) infoRedscope(t *infoText) {
	samples := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	t.add("redscope_version", ReleaseVersion)
	t.add("go_gc_cycles", samples[0].Value.Uint64())
	t.fraction("go_gc_cpu_seconds", samples[1].Value.Float64(), 6)
	t.add("go_heap_live_bytes", samples[2].Value.Uint64())
}

func (s *Server) infoPersistence(t *infoText) {
	t.zeros("loading", "async_loading", "current_cow_peak", "current_cow_size", "current_cow_size_age")
	t.fraction("current_fork_perc", 0, 2)
	t.zeros("current_save_keys_processed", "current_save_keys_total")
	t.add("rdb_changes_since_last_save", s.dirty)
	t.zeros("rdb_bgsave_in_progress")
	t.add("rdb_last_save_time", s.startTime)
	t.add("rdb_last_bgsave_status", "ok")
	t.add("rdb_last_bgsave_time_sec", -1)
	t.add("rdb_current_bgsave_time_sec", -1)
	t.zeros("rdb_saves", "rdb_last_cow_size", "rdb_last_load_keys_expired", "rdb_last_load_keys_loaded",
		"aof_enabled", "aof_rewrite_in_progress", "aof_rewrite_scheduled")
	t.add("aof_last_rewrite_time_sec", -1)
	t.add("aof_current_rewrite_time_sec", -1)
	t.add("aof_last_bgrewrite_status", "ok")
	t.zeros("aof_rewrites", "aof_rewrites_consecutive_failures")
	t.add("aof_last_write_status", "ok")
	t.zeros("aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size")
}

func (s *Server) infoStats(t *infoText) {
	st, rates := &s.stat, &s.cron.rates
	t.add("total_connections_received", st.connections)
	t.add("total_commands_processed", st.commands)
	t.add("instantaneous_ops_per_sec", rates[rateCommands].perSecond())
	t.add("total_net_input_bytes", st.netInput)
	t.add("total_net_output_bytes", st.netOutput)
	t.zeros("total_net_repl_input_bytes", "total_net_repl_output_bytes")
	t.fraction("instantaneous_input_kbps", float64(rates[rateInput].perSecond())/1024, 2)
	t.fraction("instantaneous_output_kbps", float64(rates[rateOutput].perSecond())/1024, 2)
	t.fraction("instantaneous_input_repl_kbps", 0, 2)
	t.fraction("instantaneous_output_repl_kbps", 0, 2)
	t.add("rejected_connections", st.rejectedConnections)
	t.zeros("sync_full", "sync_partial_ok", "sync_partial_err")
	t.add("expired_keys", st.expiredKeys)
	t.fraction("expired_stale_perc", st.expiredStalePercent, 2)
	t.add("expired_time_cap_reached_count", st.expiredTimeCap)
	t.add("expire_cycle_cpu_milliseconds", st.expireCycleTime/1000)
	t.zeros("evicted_keys", "evicted_clients", "total_eviction_exceeded_time", "current_eviction_exceeded_time")
	t.add("keyspace_hits", st.keyspaceHits)
	t.add("keyspace_misses", st.keyspaceMisses)
	t.zeros("pubsub_channels", "pubsub_patterns", "pubsubshard_channels", "latest_fork_usec", "total_forks",
		"migrate_cached_sockets", "slave_expires_tracked_keys",
		"active_defrag_hits", "active_defrag_misses", "active_defrag_key_hits", "active_defrag_key_misses",
		"total_active_defrag_time", "current_active_defrag_time",
		"tracking_total_keys", "tracking_total_items", "tracking_total_prefixes")
	t.add("unexpected_error_replies", st.unexpectedErrors)
	t.add("total_error_replies", st.errorReplies)
	t.add("dump_payload_sanitizations", st.sanitizations)
	t.add("total_reads_processed", st.readEvents)
	t.add("total_writes_processed", st.writeEvents)
	t.zeros("io_threaded_reads_processed", "io_threaded_writes_processed", "reply_buffer_shrinks", "reply_buffer_expands")
}

func (s *Server) infoReplication(t *infoText) {
	t.add("role", "master")
	t.zeros("connected_slaves")
	t.add("master_failover_state", "no-failover")
	t.add("master_replid", s.replicationID)
	t.add("master_replid2", strings.Repeat("0", 40))
	t.zeros("master_repl_offset")
	t.add("second_repl_offset", -1)
	t.zeros("repl_backlog_active")
	t.add("repl_backlog_size", s.config.values["repl-backlog-size"])
	t.zeros("repl_backlog_first_byte_offset", "repl_backlog_histlen")
}

func (s *Server) infoCPU(t *infoText) {
	seconds := func(tv unix.Timeval) float64 { return float64(tv.Sec) + float64(tv.Usec)/1e6 }
	for _, who := range []struct {
		who    int
		suffix string
	}{{unix.RUSAGE_SELF, ""}, {unix.RUSAGE_CHILDREN, "_children"}, {unix.RUSAGE_THREAD, "_main_thread"}} {
		var usage unix.Rusage
		unix.Getrusage(who.who, &usage)
		t.fraction("used_cpu_sys"+who.suffix, seconds(usage.Stime), 6)
		t.fraction("used_cpu_user"+who.suffix, seconds(usage.Utime), 6)
	}
}

func (s *Server) infoCommandStats(t *infoText) {
	for _, cmd := range s.commands.byID {
		if cmd.calls == 0 && cmd.rejectedCalls == 0 && cmd.failedCalls == 0 {
			continue
		}
		us := cmd.nanoseconds / 1000
		perCall := float64(us) / float64(max(1, cmd.calls))
		fmt.Fprintf(t, "cmdstat_%s:calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d\r\n",
			cmd.fullName, cmd.calls, us, perCall, cmd.rejectedCalls, cmd.failedCalls)
	}
}

func (s *Server) infoErrorStats(t *infoText) {
	for _, code := range slices.Sorted(maps.Keys(s.stat.errors)) {
		fmt.Fprintf(t, "errorstat_%s:count=%d\r\n", strings.Map(safeInfo, code), s.stat.errors[code])
	}
}

// safeInfo keeps what a client made us count from breaking the lines apart
// (getSafeInfoString).
func safeInfo(r rune) rune {
	if strings.ContainsRune("#:\n\r", r) {
		return '_'
	}
	return r
}

func (s *Server) infoLatencyStats(t *infoText) {
	percentiles := strings.Fields(s.config.values["latency-tracking-info-percentiles"])
	for _, cmd := range s.commands.byID {
		if cmd.latency == nil {
			continue
		}
		var values []string
		for _, p := range percentiles {
			share, _ := strconv.ParseFloat(p, 64)
			values = append(values, fmt.Sprintf("p%s=%.3f", p, float64(cmd.latency.percentile(share))/1000))
		}
		fmt.Fprintf(t, "latency_percentiles_usec_%s:%s\r\n", cmd.fullName, strings.Join(values, ","))
	}
}

func (s *Server) infoKeyspace(t *infoText) {
	for _, db := range s.db {
		if keys, expires := db.dict.Len(), db.dict.Expiring(); keys != 0 {
			fmt.Fprintf(t, "db%d:keys=%d,expires=%d,avg_ttl=%d\r\n", db.id, keys, expires, db.avgTTL)
		}
	}
}

// peaks remembers the largest query and reply buffers of the last seconds.
type peaks struct {
	second int64
	slots  [8]struct{ input, output int64 }
}

// rotatePeaks begins a new slot when a second has passed. The counters in stat
// hold the present second.
func (s *Server) rotatePeaks() {
	p := &s.peaks
	second := s.loopClock.unixMs / 1000
	if second == p.second {
		return
	}
	p.second = second
	slot := &p.slots[second%int64(len(p.slots))]
	slot.input, slot.output = s.stat.maxInput, s.stat.maxOutput
	s.stat.maxInput, s.stat.maxOutput = 0, 0
}

func (s *Server) recentPeaks() (input, output int64) {
	input, output = s.stat.maxInput, s.stat.maxOutput
	for _, slot := range s.peaks.slots {
		input, output = max(input, slot.input), max(output, slot.output)
	}
	return input, output
}
