package main

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// A pipe is a listener that only this process can reach: it opens no port. The
// commands that need no server speak through it to the same HTTP API that a
// server offers, so that there is one way for everything.
type pipe struct {
	conns  chan net.Conn // unbuffered: dialling waits for Accept
	closed chan struct{} // closed once, by Close
	close  func()
}

func newPipe() *pipe {
	p := &pipe{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

// Accept implements net.Listener.
func (p *pipe) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipe) Close() error { p.close(); return nil }

// Addr implements net.Listener.
func (p *pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "this process" }

// httpClient returns a client whose every request goes through the pipe.
func (p *pipe) httpClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			here, there := net.Pipe()
			select {
			case p.conns <- there:
				return here, nil
			case <-p.closed:
				return nil, net.ErrClosed
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
	}}
}
