package server

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/negotiation"

	"github.com/oap-runtime/oap/internal/fault"
)

// A request is what the layers of the server share about one request. It is
// used by the request's goroutine only.
type request struct {
	id     string
	method string // as sent; routing sees GET for HEAD
	accept string // the Accept header, which only the routes that negotiate look at
	start  time.Time
	logger *slog.Logger

	route     string     // pattern that matched, "" if none
	sessionID string     // of the path, if it has one
	tenant    string     // once authenticated
	code      fault.Code // of the failure, if it failed
	body      []byte     // as received
	doc       any        // body as decoded, once it was needed
}

type requestKey struct{}

// requestFrom returns the context's request, or an empty one.
func requestFrom(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{logger: slog.New(slog.DiscardHandler)}
}

// requestID returns the client's X-Request-Id when it is usable in a log line,
// or a new one.
func requestID(h http.Header) string {
	const idBytesMax = 128 // longer ids are replaced
	id := h.Get("X-Request-Id")
	usable := id != "" && len(id) <= idBytesMax
	for i := 0; usable && i < len(id); i++ {
		c := id[i]
		usable = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._~:/+=-", c) >= 0
	}
	if usable {
		return id
	}
	return rand.Text()
}

// prefers reports whether the client accepts the first type by name and likes
// it better than the other.
func prefers(ctx context.Context, first, other string) bool {
	return negotiation.SelectQValue(requestFrom(ctx).accept, []string{other, first}) == first
}

// detail turns one of huma's findings into a fault.Detail: the location becomes
// a JSON Pointer, the value is not repeated.
func (r *request) detail(err error) fault.Detail {
	d, ok := errors.AsType[*huma.ErrorDetail](err)
	if !ok {
		return fault.Detail{Message: err.Error()}
	}
	pointer := r.pointer(d.Location)
	return fault.Detail{Pointer: pointer, Message: d.Message, Remedy: remedy(pointer, d.Message)}
}

// pointer turns huma's "body.labels.a.b[0]" into "/labels/a.b/0". A name may
// hold dots and brackets, so the body decides where one ends.
func (r *request) pointer(location string) string {
	where, rest, _ := strings.Cut(location, ".")
	if where != "body" {
		return "/" + where + "/" + escapePointer(rest)
	}
	if r.doc == nil && json.Unmarshal(r.body, &r.doc) != nil {
		return ""
	}
	var b strings.Builder
	for doc := r.doc; rest != ""; {
		var token string
		token, rest, doc = nextToken(doc, rest)
		b.WriteString("/" + escapePointer(token))
	}
	return b.String()
}

func nextToken(doc any, path string) (token, rest string, next any) {
	switch v := doc.(type) {
	case map[string]any:
		for end := len(path); end >= 0; end = strings.LastIndexAny(path[:end], ".[") { // the longest name first
			if child, ok := v[path[:end]]; ok {
				return path[:end], strings.TrimPrefix(path[end:], "."), child
			}
		}
	case []any:
		index, after, _ := strings.Cut(strings.TrimPrefix(path, "["), "]")
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(v) {
			return index, strings.TrimPrefix(after, "."), v[i]
		}
	}
	return path, "", nil
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

func escapePointer(token string) string { return pointerEscapes.Replace(token) }

// remedies say how to mend what is often wrong at a place.
var remedies = map[string]string{
	"/goal":                 `send {"description": "what to achieve"}, or that text as a plain string`,
	"/observation":          "send an object with timestamp, user_context and environment, each of them optional",
	"/max_steps":            "send a whole number from 1 to 10000, or leave it out for the manifest's own limit",
	"/query/limit":          "send a whole number from 1 to 200",
	"/query/wait":           "send whole seconds from 0 to 60",
	"/query/after":          "send the seq of an event you have seen, or 0",
	"/header/Last-Event-ID": "send the id of an event you have seen",
}

func remedy(pointer, message string) string {
	if r, ok := remedies[pointer]; ok {
		return r
	}
	switch {
	case strings.HasPrefix(message, "unexpected property"):
		return "remove it, or correct its name: names are case-sensitive"
	case strings.HasPrefix(message, "unknown query parameter"):
		return "remove it, or correct its name"
	default:
		return "see /docs for what this route accepts"
	}
}
