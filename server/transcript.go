package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

type transcriptInput struct {
	SessionPath
	Format string `query:"format" enum:"json,jsonl" default:"json" doc:"json: the transcript; jsonl: the log, one event a line"`
}

// transcript answers with everything that has happened, as a download.
func (s *Server) transcript(ctx context.Context, in *transcriptInput) (*written, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	if in.Format == "jsonl" {
		return s.dump(ctx, id)
	}
	t, err := s.cfg.Manager.Transcript(ctx, id)
	if err != nil {
		return nil, err
	}
	return &written{Body: func(hc huma.Context) {
		attach(hc, id+".json")
		s.writeJSON(hc, t)
	}}, nil
}

// dump writes the log, page by page: it is never in memory as a whole.
func (s *Server) dump(ctx context.Context, id string) (*written, error) {
	r := &logReader{manager: s.cfg.Manager, id: id}
	events, _, caughtUp, err := r.read(ctx, readEventsMax)
	if err != nil {
		return nil, err
	}
	return &written{Body: func(hc huma.Context) {
		attach(hc, id+".jsonl")
		hc.SetHeader("Content-Type", "application/jsonl")
		hc.SetStatus(http.StatusOK)
		enc := json.NewEncoder(hc.BodyWriter())
		enc.SetEscapeHTML(false)
		for {
			for _, e := range events {
				if enc.Encode(e) != nil {
					return // the client went away
				}
			}
			if caughtUp {
				return
			}
			if events, _, caughtUp, err = r.read(ctx, readEventsMax); err != nil {
				_ = problem(ctx, err) // logs it
				panic(http.ErrAbortHandler)
			}
		}
	}}, nil
}

func attach(hc huma.Context, name string) {
	hc.SetHeader("Content-Disposition", `attachment; filename="session-`+name+`"`)
}
