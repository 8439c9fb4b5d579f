package engine

import (
	"fmt"
	"os"
	"time"
)

// logLevel is Redis's loglevel.
type logLevel int

const (
	logDebug logLevel = iota
	logVerbose
	logNotice
	logWarning
	logNothing
)

// logger writes the server's log in Redis's form. It opens the file for each
// line, as Redis does, so that a rotated log is followed. Lines are rare and
// never on the path of a command that succeeds.
type logger struct {
	cfg *Config
	pid int
}

func newLogger(cfg *Config) (*logger, error) {
	if cfg.LogFile != "" {
		f, err := os.OpenFile(cfg.LogFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("can't open the log file: %w", err)
		}
		f.Close()
	}
	return &logger{cfg: cfg, pid: os.Getpid()}, nil
}

func (l *logger) write(level logLevel, format string, args []any) {
	if level < l.cfg.LogLevel {
		return
	}
	line := fmt.Sprintf("%d:M %s %c %s\n", l.pid, time.Now().Format("02 Jan 2006 15:04:05.000"), ".-*#"[level], fmt.Sprintf(format, args...))
	if l.cfg.LogFile == "" {
		os.Stdout.WriteString(line)
		return
	}
	if f, err := os.OpenFile(l.cfg.LogFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
		f.WriteString(line)
		f.Close()
	}
}

func (l *logger) verbose(format string, args ...any) {
	if l.cfg.LogLevel <= logVerbose {
		l.write(logVerbose, format, args)
	}
}
func (l *logger) notice(format string, args ...any)  { l.write(logNotice, format, args) }
func (l *logger) warning(format string, args ...any) { l.write(logWarning, format, args) }
