package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/oap-runtime/oap/internal/fault"
)

type noInput struct{}

// Health is the answer of the probes.
type Health struct {
	OK   bool   `json:"ok" example:"true"`
	Code string `json:"code" example:"common.success"`
	Data struct {
		Status string `json:"status" example:"ok"`
	} `json:"data"`
}

type healthOutput struct {
	Body Health
}

func healthy(status string) *healthOutput {
	out := &healthOutput{}
	out.Body.OK, out.Body.Code, out.Body.Data.Status = true, "common.success", status
	return out
}

func (s *Server) healthz(context.Context, *noInput) (*healthOutput, error) { return healthy("ok"), nil }

// readyTimeout is how long the database may take to answer a probe.
const readyTimeout = 2 * time.Second

func (s *Server) readyz(ctx context.Context, _ *noInput) (*healthOutput, error) {
	if s.isDraining() {
		return nil, fault.New(fault.Unavailable, "the server is stopping").Retry(s.cfg.DrainTimeout)
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.cfg.Manager.Ready(ctx); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the database does not answer").Retry(readyTimeout)
	}
	return healthy("ready"), nil
}

// Version says what is running.
type Version struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Go      string `json:"go" doc:"version of the Go toolchain it was built with"`
}

type versionOutput struct {
	Body Version
}

func (s *Server) version(context.Context, *noInput) (*versionOutput, error) {
	return &versionOutput{Body: Version{Name: s.cfg.Name, Version: s.cfg.Version, Go: runtime.Version()}}, nil
}

// Info is the answer of the root: where to go from here.
type Info struct {
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Links   map[string]string `json:"links"`
}

// root answers programs with JSON and browsers with a page (C-17).
func (s *Server) root(ctx context.Context, _ *noInput) (*written, error) {
	return &written{Body: func(hc huma.Context) {
		hc.AppendHeader("Vary", "Accept")
		if prefers(ctx, "text/html", "application/json") {
			hc.SetHeader("Location", "/docs")
			hc.SetStatus(http.StatusSeeOther)
			return
		}
		s.writeJSON(hc, Info{
			Name: s.cfg.Name, Version: s.cfg.Version,
			Links: map[string]string{
				"docs": "/docs", "openapi": "/openapi.json", "sessions": "/sessions", "manifests": "/manifests",
				"health": "/healthz", "ready": "/readyz", "version": "/version",
			},
		})
	}}, nil
}

// writeJSON writes a whole answer of a handler that writes for itself.
func (s *Server) writeJSON(hc huma.Context, v any) {
	hc.SetHeader("Content-Type", "application/json")
	hc.SetStatus(http.StatusOK)
	if err := s.api.Marshal(hc.BodyWriter(), "application/json", v); err != nil {
		panic(fmt.Errorf("write the answer: %w", err)) // cuts it off, see recoverPanic
	}
}

func (s *Server) openapi(context.Context, *noInput) (*written, error) {
	return &written{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", "application/openapi+json")
		hc.SetHeader("Cache-Control", "no-cache")
		hc.SetStatus(http.StatusOK)
		_, _ = hc.BodyWriter().Write(s.spec) // a client that went away needs no answer
	}}, nil
}
