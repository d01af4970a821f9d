package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/client"
	"github.com/oap-runtime/oap/internal/secret"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
	"github.com/oap-runtime/oap/sandbox"
	"github.com/oap-runtime/oap/server"
	"github.com/oap-runtime/oap/session"
	"github.com/oap-runtime/oap/store"
)

// callTimeout bounds a whole call, repetitions included, unless its action
// says otherwise.
const callTimeout = 5 * time.Minute

// closeTimeout bounds how long running code may keep an engine from closing.
const closeTimeout = 10 * time.Second

// An engineConfig is everything that flags, environment and files say about
// the machinery behind the API.
type engineConfig struct {
	db           string // DSN, see store.Config
	manifests    []manifestSource
	workers      int
	logger       *slog.Logger
	model        modelConfig
	grantLLM     bool
	env          func(string) (string, bool) // where manifests' secrets come from; nil means the environment
	secretsDir   string
	files        string // directory; "" means that there are no files but in buckets
	buckets      map[string]executor.Mount
	rewrite      map[string]string
	allowPrivate []netip.Prefix
}

// A manifestSource is a manifest and where it was found.
type manifestSource struct {
	name string
	data []byte
}

// An engine is the running machinery: a database, an executor for each type of
// action, a planner, and the manager that ties them together.
type engine struct {
	manager *session.Manager
	logger  *slog.Logger
	store   *store.DB
	sandbox *sandbox.Sandbox
	http    *executor.HTTP

	manifests []*manifest.Manifest // those of the configuration, in its order
}

// newEngine opens the database, registers the manifests and wires everything.
// It advances no session: see work.
func newEngine(ctx context.Context, cfg engineConfig) (*engine, error) {
	model, err := newModel(cfg.model)
	if err != nil {
		return nil, err
	}
	secrets := secret.NewResolver(secret.Config{Env: cfg.env, Dir: cfg.secretsDir, Deny: ownCredentials})
	httpConfig := executor.HTTPConfig{Secrets: secrets, Rewrite: cfg.rewrite, AllowPrivate: cfg.allowPrivate, UserAgent: userAgent()}
	if err := httpConfig.Validate(); err != nil {
		return nil, err
	}
	box, err := sandbox.New(sandbox.Config{CacheDir: engineCacheDir()})
	if err != nil {
		return nil, err
	}
	e := &engine{logger: cfg.logger, sandbox: box, http: executor.NewHTTP(httpConfig)}
	if e.store, err = store.Open(ctx, store.Config{DSN: cfg.db, Logger: cfg.logger}); err != nil {
		e.close(ctx)
		return nil, err
	}

	code := executor.NewCode(executor.CodeConfig{Sandbox: box, LLM: guest(model), GrantLLM: cfg.grantLLM})
	files := executor.NewFiles(executor.FilesConfig{Dir: cfg.files, Buckets: cfg.buckets})
	stack := executor.Checked(executor.Timeout(executor.Retry(executor.Mux{
		manifest.InvokeAPI:         e.http,
		manifest.RunCode:           code,
		manifest.ReadFile:          files,
		manifest.WriteFile:         files,
		manifest.HumanIntervention: executor.NewHuman(),
	}, executor.RetryConfig{}), callTimeout), executor.CheckedConfig{Log: cfg.logger})

	config := session.Config{
		Store: e.store, Planner: planner.Repair(model, planner.RepairConfig{}), Executor: stack,
		Workers: cfg.workers, Logger: cfg.logger,
	}
	if config.Default, err = defaultManifest(cfg.manifests); err == nil {
		e.manager, err = session.New(config)
	}
	if err == nil {
		err = e.begin(ctx, cfg)
	}
	if err != nil {
		e.close(ctx)
		return nil, err
	}
	return e, nil
}

// defaultManifest returns the digest of the first manifest.
func defaultManifest(list []manifestSource) (string, error) {
	if len(list) == 0 {
		return "", nil
	}
	m, err := manifest.Parse(list[0].data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", list[0].name, err)
	}
	return m.Digest(), nil
}

// begin takes over what an earlier process left and registers the manifests.
func (e *engine) begin(ctx context.Context, cfg engineConfig) error {
	if !isPostgres(cfg.db) {
		// A SQLite file is this process's alone, so whoever held a lease in it
		// is gone.
		if _, err := e.store.ReleaseOthers(ctx, e.manager.Owner()); err != nil {
			return err
		}
	}
	for _, s := range cfg.manifests {
		m, created, err := e.manager.RegisterManifest(ctx, s.data)
		if err != nil {
			return fmt.Errorf("register %s: %w", s.name, err)
		}
		if created {
			e.logger.Info("manifest registered", slog.String("name", m.Name), slog.String("version", m.Version), slog.String("digest", m.Digest()))
		}
		e.manifests = append(e.manifests, m)
		for _, w := range m.Lint() {
			e.logger.Warn("manifest", slog.String("file", s.name), slog.Int("line", w.Line), slog.String("pointer", w.Pointer), slog.String("message", w.Message))
		}
	}
	return nil
}

// languages returns the runtimes that the manifests' code needs.
func (e *engine) languages() (list []sandbox.Runtime) {
	for _, m := range e.manifests {
		for _, a := range m.Actions {
			if a.Code == nil {
				continue
			}
			if rt, _, ok := sandbox.ParseRuntime(a.Code.Runtime); ok && !slices.Contains(list, rt) {
				list = append(list, rt)
			}
		}
	}
	return list
}

func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// warm prepares the sandbox for the manifests' code.
func (e *engine) warm(ctx context.Context) error {
	list := e.languages()
	if len(list) == 0 {
		return nil
	}
	if err := e.sandbox.Warm(ctx, list...); err != nil {
		return fmt.Errorf("prepare the sandbox: %w", err)
	}
	return nil
}

// work advances sessions until ctx is done. Meanwhile it prepares the sandbox,
// so that the first code of a session need not wait for it.
func (e *engine) work(ctx context.Context) error {
	return together(ctx, e.manager.Run, func(ctx context.Context) error {
		if err := e.warm(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
}

// inProcess returns a client that speaks to the engine's own API without a
// port, and the part that serves it.
func (e *engine) inProcess() (*client.Client, part, error) {
	srv, err := server.New(server.Config{Manager: e.manager, Logger: e.logger, DrainTimeout: time.Second})
	if err != nil {
		return nil, nil, err
	}
	p := newPipe()
	return &client.Client{BaseURL: "http://localhost", HTTP: p.httpClient()}, func(ctx context.Context) error { return srv.Serve(ctx, p) }, nil
}

// close ends what the engine holds open. Sessions that have not ended go on
// when the next engine opens the same database.
func (e *engine) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	var err error
	if e.store != nil {
		err = e.store.Close()
	}
	e.http.Close()
	if err = errors.Join(err, e.sandbox.Close(ctx)); err != nil {
		e.logger.Error("close", slog.String("error", err.Error()))
	}
}
