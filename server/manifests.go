package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/session"
)

// manifestInput is a manifest as it was written, JSON or YAML. Package
// manifest reads and checks it.
type manifestInput struct {
	RawBody []byte
}

// ManifestEntry tells of one registered manifest.
type ManifestEntry struct {
	Name      string    `json:"name"`
	Version   string    `json:"version"`
	Digest    string    `json:"digest" doc:"SHA-256 of the canonical document, hex; sessions are pinned to it"`
	CreatedAt time.Time `json:"created_at,omitzero"`
}

// ManifestRegistered is the answer to POST /manifests.
type ManifestRegistered struct {
	ManifestEntry
	Created  bool               `json:"created" doc:"false when exactly this was registered before"`
	Warnings []manifest.Warning `json:"warnings" nullable:"false"`
}

type registerOutput struct {
	Status   int
	Location string `header:"Location" doc:"path of the manifest"`
	Body     ManifestRegistered
}

func (s *Server) registerManifest(ctx context.Context, in *manifestInput) (*registerOutput, error) {
	m, created, err := s.cfg.Manager.RegisterManifest(ctx, bytes.Clone(in.RawBody)) // huma reuses the buffer
	if err != nil {
		return nil, err
	}
	out := &registerOutput{
		Status: http.StatusOK, Location: manifestPath(m.Name, m.Version),
		Body: ManifestRegistered{ManifestEntry: ManifestEntry{Name: m.Name, Version: m.Version, Digest: m.Digest()}, Created: created, Warnings: orEmpty(m.Lint())},
	}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

func manifestPath(name, version string) string {
	return "/manifests/" + url.PathEscape(name) + "/" + url.PathEscape(version)
}

type manifestsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"manifests on a page"`
	Cursor string `query:"cursor" maxLength:"500" doc:"next_cursor of the page before"`
}

// ManifestPage is one page of the list of manifests.
type ManifestPage struct {
	Manifests  []ManifestEntry `json:"manifests" nullable:"false" doc:"newest first"`
	NextCursor string          `json:"next_cursor,omitempty" doc:"absent on the last page"`
}

type manifestsOutput struct {
	Link string `header:"Link" doc:"the next page, with rel=\"next\""`
	Body ManifestPage
}

func (s *Server) listManifests(ctx context.Context, in *manifestsInput) (*manifestsOutput, error) {
	rows, next, err := s.cfg.Manager.Manifests(ctx, in.Limit, in.Cursor)
	if err != nil {
		return nil, err
	}
	out := &manifestsOutput{Body: ManifestPage{Manifests: make([]ManifestEntry, len(rows)), NextCursor: next}}
	for i, row := range rows {
		out.Body.Manifests[i] = entryOf(row)
	}
	if next != "" {
		out.Link = linkNext("/manifests", url.Values{"cursor": {next}, "limit": {strconv.Itoa(in.Limit)}})
	}
	return out, nil
}

func entryOf(row session.StoredManifest) ManifestEntry {
	return ManifestEntry{Name: row.Ref.Name, Version: row.Ref.Version, Digest: row.Ref.Digest, CreatedAt: row.CreatedAt}
}

type manifestPathInput struct {
	Name        string `path:"name" maxLength:"200" doc:"the manifest's name"`
	Version     string `path:"version" maxLength:"100" doc:"its version as written, or latest for the one registered last"`
	IfNoneMatch string `header:"If-None-Match" doc:"an ETag you have; 304 when it is the same manifest"`
}

// ManifestDocument is a registered manifest with its content.
type ManifestDocument struct {
	ManifestEntry
	Manifest json.RawMessage    `json:"manifest" doc:"the document, as canonical JSON"`
	Warnings []manifest.Warning `json:"warnings" nullable:"false"`
}

type manifestOutput struct {
	Status       int
	ETag         string `header:"ETag" doc:"the digest"`
	CacheControl string `header:"Cache-Control"`
	Body         *ManifestDocument
}

// errNoManifest also matches the manager's own NotFound.
var errNoManifest = fault.New(fault.NotFound, "Manifest not found")

func (s *Server) getManifest(ctx context.Context, in *manifestPathInput) (*manifestOutput, error) {
	if !isText(in.Name) || !isText(in.Version) || strings.Contains(in.Name, "@") {
		return nil, errNoManifest
	}
	ref := in.Name
	if in.Version != "latest" {
		ref += "@" + in.Version
	}
	m, row, err := s.cfg.Manager.Manifest(ctx, ref)
	if errors.Is(err, errNoManifest) {
		err = errNoManifest // with its own text
	}
	if err != nil {
		return nil, err
	}
	out := &manifestOutput{Status: http.StatusOK, ETag: `"` + row.Ref.Digest + `"`, CacheControl: revalidate}
	if matches(in.IfNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
		return out, nil
	}
	out.Body = &ManifestDocument{ManifestEntry: entryOf(row), Manifest: m.JSON(), Warnings: orEmpty(m.Lint())}
	return out, nil
}

// ManifestCheck is the answer to POST /manifests/validate.
type ManifestCheck struct {
	Valid    bool               `json:"valid"`
	Name     string             `json:"name,omitempty"`
	Version  string             `json:"version,omitempty"`
	Digest   string             `json:"digest,omitempty"`
	Problems []fault.Detail     `json:"problems" nullable:"false" doc:"why it would be refused"`
	Warnings []manifest.Warning `json:"warnings" nullable:"false" doc:"what is allowed but should be mended"`
}

type checkOutput struct {
	Body ManifestCheck
}

// validateManifest checks a manifest and stores nothing (S2-11).
func (s *Server) validateManifest(_ context.Context, in *manifestInput) (*checkOutput, error) {
	out := &checkOutput{Body: ManifestCheck{Problems: []fault.Detail{}, Warnings: []manifest.Warning{}}}
	m, err := manifest.Parse(bytes.Clone(in.RawBody))
	if err != nil {
		f := fault.From(err)
		if f.Code == fault.Internal {
			return nil, err
		}
		out.Body.Problems = f.Details
		if len(f.Details) == 0 {
			out.Body.Problems = []fault.Detail{{Message: f.Message}}
		}
		return out, nil
	}
	out.Body.Valid, out.Body.Name, out.Body.Version, out.Body.Digest = true, m.Name, m.Version, m.Digest()
	out.Body.Warnings = orEmpty(m.Lint())
	return out, nil
}

// manifestSource is a reference to a registered manifest, or a manifest.
type manifestSource json.RawMessage

// UnmarshalJSON implements json.Unmarshaler.
func (m *manifestSource) UnmarshalJSON(data []byte) error {
	*m = bytes.Clone(data)
	return nil
}

// Schema implements huma.SchemaProvider.
func (manifestSource) Schema(huma.Registry) *huma.Schema {
	one, most := 1, 300
	ref := &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most, Description: "name@version, name or digest of a registered manifest"}
	inline := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "a manifest"}
	ref.PrecomputeMessages()
	inline.PrecomputeMessages()
	return &huma.Schema{OneOf: []*huma.Schema{ref, inline}}
}

// DiffRequest is the body of POST /manifests/diff.
type DiffRequest struct {
	Old manifestSource `json:"old" doc:"the version there is"`
	New manifestSource `json:"new" doc:"the version to come"`
}

type diffInput struct {
	Body DiffRequest
}

type diffOutput struct {
	Body manifest.Comparison
}

// diffManifests tells what changed between two manifests, and which version
// step that needs (S2-93).
func (s *Server) diffManifests(ctx context.Context, in *diffInput) (*diffOutput, error) {
	before, err := s.source(ctx, in.Body.Old, "/old")
	if err != nil {
		return nil, err
	}
	after, err := s.source(ctx, in.Body.New, "/new")
	if err != nil {
		return nil, err
	}
	out := &diffOutput{Body: manifest.Compare(before, after)}
	out.Body.Changes = orEmpty(out.Body.Changes)
	return out, nil
}

func (s *Server) source(ctx context.Context, src manifestSource, pointer string) (*manifest.Manifest, error) {
	var ref string
	if json.Unmarshal(src, &ref) == nil {
		m, _, err := s.cfg.Manager.Manifest(ctx, ref)
		if errors.Is(err, errNoManifest) {
			return nil, fault.New(fault.NotFound, "manifest %q is not registered", ref).With(fault.Detail{
				Pointer: pointer, Message: "no such manifest", Remedy: "see GET /manifests, or send the manifest itself",
			})
		}
		return m, err
	}
	m, err := manifest.Parse(src)
	if err == nil {
		return m, nil
	}
	f := fault.From(err)
	if f.Code == fault.Internal {
		return nil, fmt.Errorf("parse %s: %w", pointer, err)
	}
	moved := *f
	moved.Details = nil
	for _, d := range f.Details {
		d.Pointer, d.Line, d.Column = pointer+d.Pointer, 0, 0 // lines would count within the part
		moved.Details = append(moved.Details, d)
	}
	return nil, &moved
}
