package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Addresses says where a listening world is reached. It is what a port file
// holds.
type Addresses struct {
	Services []Address `json:"services"`
	Control  Address   `json:"control"`
}

// An Address is one listening service.
type Address struct {
	Name     string `json:"name"`
	Origin   string `json:"origin,omitempty"` // as manifests write it
	URL      string `json:"url"`              // where it really listens
	TokenEnv string `json:"token_env,omitempty"`
	Token    string `json:"token"`
}

// shutdownTimeout bounds how long running requests may take to end.
const shutdownTimeout = 2 * time.Second

// A Listener is a world on its loopback ports.
type Listener struct {
	Addresses Addresses

	servers []*http.Server
	socks   []net.Listener
}

// Listen opens one free loopback port for each service and one for the control
// endpoint. Serve must follow; Close is for the case that it does not.
func (w *World) Listen(ctx context.Context) (*Listener, error) {
	l := &Listener{}
	var config net.ListenConfig
	open := func(name string, h http.Handler) (string, error) {
		sock, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("listen for the %s service: %w", name, err)
		}
		l.socks = append(l.socks, sock)
		l.servers = append(l.servers, &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second})
		return "http://" + sock.Addr().String(), nil
	}
	for _, s := range w.services {
		url, err := open(s.Name, s)
		if err != nil {
			l.Close()
			return nil, err
		}
		l.Addresses.Services = append(l.Addresses.Services, Address{s.Name, s.Origin, url, s.TokenEnv, s.Token})
	}
	url, err := open("control", w.Control())
	if err != nil {
		l.Close()
		return nil, err
	}
	l.Addresses.Control = Address{Name: "control", URL: url, Token: w.control}
	return l, nil
}

// Close gives the ports back.
func (l *Listener) Close() {
	for _, s := range l.socks {
		_ = s.Close() // serving closes it, too
	}
}

// Serve answers until ctx is done or a service fails.
func (l *Listener) Serve(ctx context.Context) error {
	failed := make(chan error, len(l.servers)) // one per service, so that none is left sending
	for i, s := range l.servers {
		go func() { failed <- s.Serve(l.socks[i]) }()
	}
	var err error
	pending := len(l.servers)
	select {
	case <-ctx.Done():
	case err = <-failed:
		pending--
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	for _, s := range l.servers {
		if s.Shutdown(stop) != nil {
			_ = s.Close() // what did not end in time is cut off
		}
	}
	for range pending {
		if e := <-failed; err == nil && !errors.Is(e, http.ErrServerClosed) {
			err = e
		}
	}
	return err
}
