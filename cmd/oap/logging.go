package main

import (
	"io"
	"log/slog"
)

// logFlags say how the log is written.
type logFlags struct {
	LogFormat string     `help:"Form of the log: ${enum}." enum:"json,text" default:"json" env:"OAP_LOG_FORMAT" group:"log"`
	LogLevel  slog.Level `help:"Least important lines to write: debug, info, warn or error." default:"info" env:"OAP_LOG_LEVEL" placeholder:"LEVEL" group:"log"`
}

// logger returns a logger that writes to w.
func (f logFlags) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: f.LogLevel}
	if f.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// quietLogger returns the logger of commands that show their progress
// themselves: only failures are worth a line beside it.
func (a *app) quietLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr.w, &slog.HandlerOptions{Level: slog.LevelError}))
}
