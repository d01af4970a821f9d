package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/session"
)

// Manager is what the routes need from package session. Every method acts for
// the principal in its context.
type Manager interface {
	Create(ctx context.Context, r session.CreateRequest) (v session.View, replayed bool, err error)
	Get(ctx context.Context, id string) (session.View, error)
	List(ctx context.Context, q session.Query) (rows []session.Session, next string, err error)
	Step(ctx context.Context, id string) (session.StepResult, error)
	Start(ctx context.Context, id string) (session.Session, error)
	Input(ctx context.Context, id string, r session.InputRequest) (session.Session, error)
	Cancel(ctx context.Context, id, reason string) (session.Session, error)
	Close(ctx context.Context, id string) (session.Transcript, error)
	Transcript(ctx context.Context, id string) (session.Transcript, error)
	Events(ctx context.Context, id string, after int64, limit int) ([]session.Event, error)
	Verify(ctx context.Context, id string) (session.Verification, error)
	Watch(id string) *session.Subscription
	RegisterManifest(ctx context.Context, source []byte) (mf *manifest.Manifest, created bool, err error)
	Manifest(ctx context.Context, ref string) (*manifest.Manifest, session.StoredManifest, error)
	Manifests(ctx context.Context, limit int, cursor string) (rows []session.StoredManifest, next string, err error)
	Ready(ctx context.Context) error
}

var _ Manager = (*session.Manager)(nil)

// Config wires a Server. Manager is required; the zero value of every other
// field means what its comment says.
type Config struct {
	Manager Manager
	Auth    *auth.Authenticator // nil accepts everybody as auth.Anonymous
	Logger  *slog.Logger        // nil discards
	Name    string              // of the service; "" means "oap"
	Version string              // "" means "dev"

	// Hosts are further names this server answers to. Over a loopback
	// connection only localhost, loopback addresses and these are accepted in
	// the Host header, so that a web page cannot reach a local server through
	// a name of its own. On other connections any name is, unless Hosts is set.
	Hosts []string
	// Origins are the web origins ("https://app.example.com", "null" for
	// pages opened from a file) whose scripts may call the API. None by
	// default; "*" allows every origin.
	Origins []string

	Waiters      int           // streams and waiting requests at once; more get 429. 0 means 1024
	Heartbeat    time.Duration // longest silence on a stream; 0 means 15 s
	Poll         time.Duration // how often a waiting request looks at the log untold; 0 means 2 s
	ReadTimeout  time.Duration // for a whole request body; 0 means 30 s
	WriteTimeout time.Duration // for each write to be taken by the reader; 0 means 30 s
	DrainDelay   time.Duration // between /readyz turning 503 and the listener closing; 0 means none
	DrainTimeout time.Duration // how long requests may take to finish after that; 0 means 20 s
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.Heartbeat, 15*time.Second)
	def(&c.Poll, 2*time.Second)
	def(&c.ReadTimeout, 30*time.Second)
	def(&c.WriteTimeout, 30*time.Second)
	def(&c.DrainTimeout, 20*time.Second)
	if c.Waiters == 0 {
		c.Waiters = 1024
	}
	if c.Name == "" {
		c.Name = "oap"
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	if c.Manager == nil {
		return errors.New("server: Config.Manager is required")
	}
	if c.Waiters < 0 {
		return fmt.Errorf("server: Config.Waiters is %d, want at least 1", c.Waiters)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Heartbeat", c.Heartbeat}, {"Poll", c.Poll}, {"ReadTimeout", c.ReadTimeout},
		{"WriteTimeout", c.WriteTimeout}, {"DrainDelay", c.DrainDelay}, {"DrainTimeout", c.DrainTimeout},
	} {
		if d.value < 0 {
			return fmt.Errorf("server: Config.%s is %s, want a positive duration", d.name, d.value)
		}
	}
	for _, o := range c.Origins {
		if o == "*" || o == "null" {
			continue
		}
		if u, err := url.Parse(o); err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return fmt.Errorf("server: Config.Origins holds %q, want scheme://host[:port], \"null\" or \"*\"", o)
		}
	}
	return nil
}

// A Server answers HTTP requests. It is an http.Handler; Serve adds timeouts
// and an orderly end.
type Server struct {
	cfg     Config
	engine  *gin.Engine
	api     huma.API
	hosts   map[string]bool
	origins map[string]bool
	spec    []byte // the OpenAPI document, as served

	waiters  atomic.Int64  // streams and waiting requests under way
	draining chan struct{} // closed once, when the server begins to stop
	drain    func()
}

// New checks the configuration and builds the routes. It opens nothing.
func New(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, hosts: map[string]bool{}, origins: map[string]bool{}, draining: make(chan struct{})}
	for _, h := range cfg.Hosts {
		s.hosts[strings.ToLower(h)] = true
	}
	for _, o := range cfg.Origins {
		s.origins[o] = true
	}
	s.drain = sync.OnceFunc(func() { close(s.draining) })
	s.engine = s.newEngine()
	if err := s.route(); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenAPI returns the OpenAPI 3.1 document, as /openapi.json serves it.
func (s *Server) OpenAPI() []byte { return s.spec }

const (
	headerTimeout = 10 * time.Second // for a request's line and headers; then the connection is closed
	idleTimeout   = 2 * time.Minute  // between requests of a connection; then it is closed
	headerBytes   = 64 << 10         // of a request's line and headers; more is answered with 431
)

// errStopped is the cause with which requests that outlive the drain are
// cancelled.
var errStopped = errors.New("server: stopped")

// Serve answers requests on ln until ctx is done, then stops in order: /readyz
// turns 503, streams and waiting requests are told to come back and end,
// requests under way may finish within the drain time, what is left is
// cancelled. It closes ln and returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(errStopped)
	hs := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
	failed := make(chan error, 1) // the one result of hs.Serve
	go func() { failed <- hs.Serve(ln) }()

	select {
	case err := <-failed:
		s.drain()
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.drain()
	if s.cfg.DrainDelay > 0 {
		select {
		case <-time.After(s.cfg.DrainDelay):
		case err := <-failed:
			return fmt.Errorf("serve %s: %w", ln.Addr(), err)
		}
	}
	within, stop := context.WithTimeout(base, s.cfg.DrainTimeout)
	defer stop()
	err := hs.Shutdown(within)
	if err != nil {
		cancel(errStopped)
		s.cfg.Logger.Warn("requests cut short by the end of the drain time", "drain_timeout", s.cfg.DrainTimeout)
		err = hs.Close()
	}
	<-failed
	return err
}

// isDraining reports whether the server has begun to stop.
func (s *Server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}
