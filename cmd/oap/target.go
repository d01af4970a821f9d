package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/oap-runtime/oap/internal/client"
)

// targetFlags say which sessions a command is about: those of a server, or
// those in a database that no server has open.
type targetFlags struct {
	Server string `help:"URL of the server." env:"OAP_SERVER" default:"http://127.0.0.1:8000" placeholder:"URL" group:"server"`
	APIKey string `name:"api-key" help:"Key for the server." env:"OAP_API_KEY" placeholder:"KEY" group:"server"`
	DB     string `name:"db" help:"Look into this database instead of asking a server: a SQLite file that no server has open, or a postgres:// URL." placeholder:"DSN" group:"server"`
}

// open returns a client for the target, and a function that ends it.
func (f targetFlags) open(a *app) (*client.Client, func(), error) {
	if f.DB == "" {
		return &client.Client{BaseURL: f.Server, Key: f.APIKey}, func() {}, nil
	}
	if !isPostgres(f.DB) {
		// Opening creates a database; looking into one should not.
		if _, err := os.Stat(strings.TrimPrefix(f.DB, "sqlite:")); err != nil {
			return nil, nil, err
		}
	}
	e, err := newEngine(a.ctx, engineConfig{db: f.DB, logger: a.quietLogger()})
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", redactDSN(f.DB), err)
	}
	cl, serve, err := e.inProcess()
	if err != nil {
		e.close(a.ctx)
		return nil, nil, err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(a.ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := serve(ctx); err != nil {
			e.logger.Error("serve", slog.String("error", err.Error()))
		}
	}()
	return cl, func() { stop(); <-ended; e.close(a.ctx) }, nil
}
