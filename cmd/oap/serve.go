package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/server"
)

type serveCmd struct {
	Addr           string   `help:"Address to listen on, instead of --host and --port." placeholder:"HOST:PORT" group:"listen"`
	Host           string   `help:"Interface to listen on." env:"HOST" default:"127.0.0.1" group:"listen"`
	Port           int      `help:"Port to listen on." env:"PORT" default:"8000" group:"listen"`
	APIKeys        []string `name:"api-key" help:"Accept this key: secret or tenant:secret, at least 16 characters. Repeat it, or separate several with commas." env:"OAP_API_KEYS" placeholder:"KEY" group:"listen"`
	AllowAnonymous bool     `help:"Serve everybody who reaches a non-loopback address without a key." env:"OAP_ALLOW_ANONYMOUS" group:"listen"`
	AllowHost      []string `help:"Answer to this host name as well, for a server behind a proxy on the same machine." env:"OAP_ALLOW_HOSTS" placeholder:"NAME" group:"listen"`
	AllowOrigin    []string `help:"Let scripts of this web origin call the API." env:"OAP_ALLOW_ORIGINS" placeholder:"ORIGIN" group:"listen"`
	DB             string   `name:"db" help:"Database: a SQLite file or a postgres:// URL. Default: oap.db in your data directory." env:"OAP_DB" placeholder:"DSN" group:"engine"`
	Manifest       []string `short:"m" help:"Register this agent at start. The first is the default for sessions that name none." env:"OAP_MANIFESTS" placeholder:"FILE" group:"engine"`
	Workers        int      `help:"How many sessions advance at once." env:"OAP_WORKERS" default:"64" group:"engine"`
	logFlags
	modelFlags
	executorFlags
}

func (*serveCmd) Help() string {
	return `Everything is kept in the database, so the server can be stopped, killed and started again
at any time: sessions go on where they were.

  oap serve --manifest agent.json                            SQLite, 127.0.0.1:8000
  oap serve --db postgres://oap@db/oap --addr 0.0.0.0:8000   Postgres; needs API keys

Secrets that manifests name, such as ${CALENDAR_TOKEN}, come from the environment or, as
${file:NAME}, from the directory given with --secrets. SIGTERM ends the server in order:
requests and running steps may finish, everything else goes on with the next start.`
}

func (c *serveCmd) Run(a *app) error {
	addr := c.Addr
	if addr == "" {
		addr = net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	}
	loopback, err := isLoopback(addr)
	if err != nil {
		return err
	}
	if !loopback && len(c.APIKeys) == 0 && !c.AllowAnonymous {
		return usageError("%s can be reached by others: give --api-key KEY (OAP_API_KEYS), or --allow-anonymous if everybody may use it", addr)
	}
	authenticator, err := auth.NewAuthenticator(c.APIKeys)
	if err != nil {
		return err
	}
	logger := c.logger(os.Stderr)
	cfg := engineConfig{db: c.DB, workers: c.Workers, logger: logger}
	for _, path := range c.Manifest {
		source, err := a.readFile(path, manifestBytesMax)
		if err != nil {
			return err
		}
		cfg.manifests = append(cfg.manifests, manifestSource{path, source})
	}
	if err := errors.Join(c.modelFlags.configure(&cfg), c.executorFlags.configure(&cfg)); err != nil {
		return err
	}
	if err := c.placeData(&cfg); err != nil {
		return err
	}

	// Listening comes first: a second server on the same port should fail
	// before it touches the database.
	ln, err := listen(a.ctx, addr)
	if err != nil {
		return err
	}
	defer closeListener(ln)
	e, err := newEngine(a.ctx, cfg)
	if err != nil {
		return err
	}
	defer e.close(a.ctx)
	v, _ := buildVersion()
	srv, err := server.New(server.Config{
		Manager: e.manager, Auth: authenticator, Logger: logger, Version: v, Hosts: c.AllowHost, Origins: c.AllowOrigin,
	})
	if err != nil {
		return err
	}
	if cfg.model.missing() {
		logger.Warn("no model is configured: sessions cannot be planned", slog.String("remedy", "set the provider's API key, or --base-url"))
	}
	logger.Info("serving", slog.String("url", "http://"+ln.Addr().String()), slog.String("db", redactDSN(cfg.db)),
		slog.String("version", v), slog.Bool("authenticated", len(c.APIKeys) > 0))
	err = together(a.ctx, e.work, func(ctx context.Context) error { return srv.Serve(ctx, ln) })
	if err == nil {
		logger.Info("stopped")
	}
	return err
}

// placeData fills in where the database and the files are kept, and makes the
// directory. Without a home directory there are no files.
func (c *serveCmd) placeData(cfg *engineConfig) error {
	if cfg.db != "" && cfg.files != "" {
		return nil
	}
	dir, err := dataDir()
	if err != nil {
		if cfg.db != "" {
			return nil
		}
		return err
	}
	if cfg.files == "" {
		cfg.files = filepath.Join(dir, "files")
	}
	if cfg.db != "" {
		return nil
	}
	cfg.db = filepath.Join(dir, "oap.db")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}
