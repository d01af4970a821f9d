package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/oap-runtime/oap/internal/fault"
)

// route registers every operation. What it says about an operation is also
// what the OpenAPI document says.
func (s *Server) route() error {
	s.api = humagin.New(s.engine, s.openAPIConfig())
	s.api.UseMiddleware(s.authenticate, s.readBody)

	const sessions, one = "/sessions", "/sessions/{id}"
	add(s, op("create-session", "POST", sessions, "Create a session", docCreate).
		body(exampleCreate).answer(201, exampleState).may(fault.IdempotencyReused, fault.Conflict, fault.UnsupportedMedia), s.createSession)
	add(s, op("list-sessions", "GET", sessions, "List sessions", docList), s.listSessions)
	add(s, op("get-session", "GET", one, "Look at a session", docGet).
		answer(200, exampleState).also(304, "The session has not moved", "ETag").may(fault.NotFound), s.getSession)
	add(s, op("step-session", "POST", one+"/step", "Make one turn", docStep).
		answer(200, exampleStep).may(fault.NotFound, fault.SessionBusy, fault.ModelFailed), s.step)
	add(s, op("run-session", "POST", one+"/run", "Let workers advance the session", docRun).
		answer(202, exampleState).may(fault.NotFound, fault.RateLimited), s.run)
	add(s, op("answer-session", "POST", one+"/input", "Answer a question", docInput).
		body(json.RawMessage(`{"answer":"Alice, next Tuesday"}`)).may(fault.NotFound, fault.NotWaiting, fault.UnsupportedMedia), s.input)
	add(s, op("cancel-session", "POST", one+"/cancel", "Cancel a session", docCancel).
		body(json.RawMessage(`{"reason":"no longer needed"}`)).may(fault.NotFound, fault.UnsupportedMedia), s.cancel)
	add(s, op("close-session", "POST", one+"/close", "Close a session and get its transcript", docClose).
		may(fault.NotFound, fault.SessionBusy), s.closeSession)
	add(s, op("get-transcript", "GET", one+"/transcript", "Download the transcript", docTranscript).
		content(200, "application/json", s.schemaTranscript()).content(200, "application/jsonl", schemaText("one event a line")).may(fault.NotFound), s.transcript)
	add(s, op("verify-session", "GET", one+"/verify", "Verify the log", docVerify).may(fault.NotFound), s.verify)
	add(s, op("read-events", "GET", one+"/events", "Follow the log", docEvents).byQuery().
		content(200, "text/event-stream", s.schemaStream()).content(200, "application/json", s.schemaEventPage()).
		also(204, "Nothing follows the Last-Event-ID, and nothing will: an EventSource stops reconnecting").may(fault.NotFound, fault.RateLimited), s.events)

	const manifests = "/manifests"
	add(s, op("register-manifest", "POST", manifests, "Register a manifest", docRegister).manifestBody().
		answer(201, nil).may(fault.ManifestInvalid, fault.ManifestConflict, fault.UnsupportedMedia), s.registerManifest)
	add(s, op("list-manifests", "GET", manifests, "List manifests", docManifests), s.listManifests)
	add(s, op("get-manifest", "GET", manifests+"/{name}/{version}", "Look at a manifest", docManifest).
		also(304, "It is the same manifest", "ETag").may(fault.NotFound), s.getManifest)
	add(s, op("validate-manifest", "POST", manifests+"/validate", "Check a manifest", docValidate).manifestBody().
		may(fault.UnsupportedMedia), s.validateManifest)
	add(s, op("diff-manifests", "POST", manifests+"/diff", "Compare two manifests", docDiff).
		body(json.RawMessage(`{"old":"MeetBot@2.0","new":"MeetBot@2.1.0"}`)).
		may(fault.NotFound, fault.ManifestInvalid, fault.UnsupportedMedia), s.diffManifests)

	add(s, op("root", "GET", "/", "What this is", "JSON for programs; a browser is sent to the documentation.").open().
		content(200, "application/json", schemaOf[Info](s)).also(303, "To the documentation", "Location"), s.root)
	add(s, op("healthz", "GET", "/healthz", "Is the process alive?", "Looks at nothing else.").open(), s.healthz)
	add(s, op("readyz", "GET", "/readyz", "Should it get requests?", "No while the database does not answer or the server is stopping.").open().may(fault.Unavailable), s.readyz)
	add(s, op("version", "GET", "/version", "What is running?", "").open(), s.version)
	add(s, op("openapi", "GET", "/openapi.json", "This document", "").open().content(200, "application/openapi+json", schemaObject("an OpenAPI 3.1 document")), s.openapi)
	s.routeDocs()

	return s.finishOpenAPI()
}

// add registers an operation. Handlers return errors; Problem is made of them
// here and nowhere else.
func add[I, O any](s *Server, o *operation, h func(context.Context, *I) (*O, error)) {
	huma.Register(s.api, o.Operation, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, problem(ctx, err)
		}
		return out, nil
	})
	o.document(s.api.OpenAPI().Paths[o.Path])
}

// written is an answer that the handler writes itself.
type written struct {
	Body func(huma.Context)
}

// op starts the description of an operation. It needs a key unless it is open.
func op(id, method, path, summary, description string) *operation {
	o := &operation{Operation: huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, Description: description,
		Security:     []map[string][]string{{schemeBearer: {}}},
		MaxBodyBytes: bodyBytesMax + 1, // readBody enforces the limit; huma's counts one byte less
		// readBody has read the body; a deadline set by huma would stay and end a stream.
		BodyReadTimeout:              -1,
		RejectUnknownQueryParameters: true,
		Responses:                    map[string]*huma.Response{},
		Tags:                         []string{tagOf(path)},
	}}
	o.may(fault.Validation, fault.Unauthenticated, fault.ScopeDenied, fault.TooLarge, fault.Internal, fault.Unavailable)
	return o
}

func tagOf(path string) string {
	for _, tag := range tags {
		for _, prefix := range tag.prefixes {
			if len(path) >= len(prefix) && path[:len(prefix)] == prefix {
				return tag.name
			}
		}
	}
	return tagOperations
}

var methodsOf = map[string]func(*huma.PathItem) *huma.Operation{
	http.MethodGet:  func(p *huma.PathItem) *huma.Operation { return p.Get },
	http.MethodPost: func(p *huma.PathItem) *huma.Operation { return p.Post },
}
