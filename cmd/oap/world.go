package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/oap-runtime/oap/internal/demo"
	"github.com/oap-runtime/oap/planner/llm"
	"github.com/oap-runtime/oap/planner/scripted"
)

// A world is what the examples act on and who decides in them: the demo
// services and a scripted model, on loopback ports.
type world struct {
	services *demo.World
	listener *demo.Listener
	model    *http.Server
	socket   net.Listener
	key      string
}

// worldAddresses is the content of a port file.
type worldAddresses struct {
	demo.Addresses
	Model struct {
		BaseURL string `json:"base_url"`
		APIKey  string `json:"api_key"`
	} `json:"model"`
}

// startWorld opens the ports; serve answers on them.
func startWorld(ctx context.Context, script []byte) (*world, error) {
	s, err := scripted.LoadScript(script)
	if err != nil {
		return nil, err
	}
	w := &world{services: demo.New(), key: rand.Text()}
	if w.listener, err = w.services.Listen(ctx); err != nil {
		return nil, err
	}
	if w.socket, err = listen(ctx, "127.0.0.1:0"); err != nil {
		w.listener.Close()
		return nil, err
	}
	w.model = &http.Server{
		Handler:           scripted.NewServer(s, scripted.ServerConfig{APIKey: w.key, Keep: 1}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	return w, nil
}

// close gives the ports back.
func (w *world) close() {
	w.listener.Close()
	closeListener(w.socket)
}

// serve answers until ctx is done.
func (w *world) serve(ctx context.Context) error {
	return together(ctx, w.listener.Serve, func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = w.model.Close() })
		defer stop()
		if err := w.model.Serve(w.socket); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the scripted model: %w", err)
		}
		return nil
	})
}

func (w *world) addresses() worldAddresses {
	a := worldAddresses{Addresses: w.listener.Addresses}
	a.Model.BaseURL, a.Model.APIKey = w.modelURL(), w.key
	return a
}

func (w *world) modelURL() string { return "http://" + w.socket.Addr().String() + "/v1" }

// delay makes every request to a service take longer.
func (w *world) delay(d time.Duration) error {
	if d == 0 {
		return nil
	}
	return w.services.Inject(demo.Fault{LatencyMS: int(d.Milliseconds())})
}

// configure leads an engine into this world: the origins that the examples'
// manifests name, the tokens, and the model.
func (w *world) configure(c *engineConfig) {
	c.rewrite = map[string]string{}
	tokens := map[string]string{}
	for _, s := range w.listener.Addresses.Services {
		c.rewrite[s.Origin] = s.URL
		tokens[s.TokenEnv] = s.Token
	}
	c.env = func(name string) (string, bool) {
		if t, ok := tokens[name]; ok {
			return t, true
		}
		return os.LookupEnv(name)
	}
	c.model = modelConfig{provider: providerOpenAI, baseURL: w.modelURL(), key: w.key, prices: llm.Prices{}} // a script costs nothing
}
