package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/oap-runtime/oap/internal/auth"
	"github.com/oap-runtime/oap/internal/fault"
)

func init() { gin.SetMode(gin.ReleaseMode) } // gin's debug mode prints to stdout

// newEngine returns the router with everything that happens to every request,
// outermost first.
func (s *Server) newEngine() *gin.Engine {
	e := gin.New()
	e.RedirectTrailingSlash = false
	e.HandleMethodNotAllowed = true
	e.UseEscapedPath, e.UnescapePathValues = true, true // an escaped slash is part of a value, not of the route
	e.ForwardedByClientIP = false
	e.Use(s.observe, recoverPanic, s.secure, s.checkHost, s.shareResources)
	e.NoRoute(func(c *gin.Context) {
		fail(c, fault.New(fault.NotFound, "no such route; see /docs for those there are"))
	})
	e.NoMethod(func(c *gin.Context) {
		allowed := strings.Split(c.Writer.Header().Get("Allow"), ", ")
		slices.Sort(allowed)
		c.Header("Allow", strings.Join(allowed, ", "))
		fail(c, fault.New(fault.MethodNotAllowed, "this route answers %s only", strings.Join(allowed, " and ")))
	})
	return e
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req := &request{id: requestID(r.Header), method: r.Method, accept: r.Header.Get("Accept"), start: time.Now(), logger: s.cfg.Logger}
	rc := http.NewResponseController(w)
	// Deadlines belong to the connection and outlive a request. Writers without
	// them (tests) have none to set.
	_ = rc.SetWriteDeadline(time.Time{})
	if r.ContentLength != 0 {
		_ = rc.SetReadDeadline(time.Now().Add(s.cfg.ReadTimeout))
	}
	inner := r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
	inner.Header = r.Header.Clone()
	inner.Header.Del("Accept") // huma's parser panics on some malformed ones, and there is one format
	if r.Method == http.MethodHead {
		inner.Method = http.MethodGet // net/http drops the body of the answer
	}
	s.engine.ServeHTTP(&deadlineWriter{w, rc, s.cfg.WriteTimeout}, inner)
}

// A deadlineWriter gives each write a deadline of its own, so that a reader
// that has stopped reading is noticed however long the response is, while a
// stream may stay open.
type deadlineWriter struct {
	http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
}

func (w *deadlineWriter) extend() { _ = w.rc.SetWriteDeadline(time.Now().Add(w.timeout)) }

func (w *deadlineWriter) WriteHeader(status int) {
	w.extend()
	w.ResponseWriter.WriteHeader(status)
}

func (w *deadlineWriter) Write(b []byte) (int, error) {
	w.extend()
	return w.ResponseWriter.Write(b)
}

// Flush implements http.Flusher. A failure shows on the next write.
func (w *deadlineWriter) Flush() {
	w.extend()
	_ = w.rc.Flush()
}

func (w *deadlineWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// observe writes the access log: one line for each request, without query and
// headers, which may hold secrets.
func (s *Server) observe(c *gin.Context) {
	req := requestFrom(c.Request.Context())
	req.route = c.FullPath()
	if strings.HasPrefix(req.route, "/sessions/:id") {
		req.sessionID = c.Param("id")
	}
	c.Writer.Header().Set("X-Request-Id", req.id)
	defer func() {
		level := slog.LevelInfo
		if req.route == "/healthz" || req.route == "/readyz" {
			level = slog.LevelDebug
		}
		attrs := []slog.Attr{
			slog.String("request_id", req.id),
			slog.String("method", req.method),
			slog.String("route", req.route),
			slog.Int("status", c.Writer.Status()),
			slog.Int64("duration_ms", time.Since(req.start).Milliseconds()),
			slog.Int("bytes", max(0, c.Writer.Size())),
		}
		for name, value := range map[string]string{"session_id": req.sessionID, "tenant": req.tenant, "code": string(req.code)} {
			if value != "" {
				attrs = append(attrs, slog.String(name, value))
			}
		}
		s.cfg.Logger.LogAttrs(c.Request.Context(), level, "request", attrs...)
	}()
	c.Next()
}

// recoverPanic answers a panic like any failure of ours. Once the answer has
// begun it can only be cut off, which the client notices.
func recoverPanic(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		req := requestFrom(c.Request.Context())
		req.logger.ErrorContext(c.Request.Context(), "panic", "request_id", req.id, "route", req.route, "panic", v, "stack", string(debug.Stack()))
		req.code = fault.Internal
		if c.Writer.Written() {
			panic(http.ErrAbortHandler)
		}
		fail(c, newProblem(fault.New(fault.Internal, "internal error"), http.StatusInternalServerError, req.id))
	}()
	c.Next()
}

// apiPolicy is for answers that no browser should render at all.
const apiPolicy = "default-src 'none'; frame-ancestors 'none'; sandbox"

func (s *Server) secure(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", apiPolicy)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	c.Next()
}

// checkHost refuses names under which this server is not known, see
// Config.Hosts.
func (s *Server) checkHost(c *gin.Context) {
	host := c.Request.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	local, _ := c.Request.Context().Value(http.LocalAddrContextKey).(net.Addr)
	tcp, ok := local.(*net.TCPAddr)
	loopback := ok && tcp.IP.IsLoopback()
	switch {
	case s.hosts[strings.ToLower(host)]:
	case !loopback && len(s.hosts) == 0:
	case strings.EqualFold(host, "localhost") || isLoopbackIP(host):
	default:
		fail(c, fault.New(fault.ScopeDenied, "this server does not answer to the name in the Host header").With(fault.Detail{
			Pointer: "/header/Host", Message: "unknown host name", Remedy: "use localhost or 127.0.0.1, or have the operator allow the name",
		}))
		return
	}
	c.Next()
}

func isLoopbackIP(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

const (
	corsMethods = "GET, POST, OPTIONS"
	corsHeaders = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, X-Request-Id"
	corsExposed = "ETag, Idempotency-Replayed, Link, Location, Retry-After, X-Request-Id"
)

// shareResources answers cross-origin requests of browsers (CORS). A page of
// an origin that is not allowed cannot read answers, and cannot send what
// would change something: a browser attaches no credential of ours by itself,
// but a server on loopback may ask for none.
func (s *Server) shareResources(c *gin.Context) {
	r := c.Request
	origin := r.Header.Get("Origin")
	h := c.Writer.Header()
	h.Add("Vary", "Origin")
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	switch {
	case origin == "":
		if site := r.Header.Get("Sec-Fetch-Site"); !safe && site == "cross-site" {
			fail(c, originDenied())
			return
		}
	case s.origins["*"] || s.origins[origin]:
		allowed := origin
		if s.origins["*"] {
			allowed = "*"
		}
		h.Set("Access-Control-Allow-Origin", allowed)
		h.Set("Access-Control-Expose-Headers", corsExposed)
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			h.Set("Access-Control-Allow-Methods", corsMethods)
			h.Set("Access-Control-Allow-Headers", corsHeaders)
			h.Set("Access-Control-Max-Age", "600")
			c.AbortWithStatus(http.StatusNoContent)
			return
		}
	case !safe && !sameOrigin(origin, r.Host):
		fail(c, originDenied())
		return
	}
	c.Next()
}

func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

func originDenied() error {
	return fault.New(fault.ScopeDenied, "pages of this origin may not call this server").With(fault.Detail{
		Pointer: "/header/Origin", Message: "origin not allowed", Remedy: "have the operator allow the origin",
	})
}

// authenticate finds out who asks, on operations that declare a security
// requirement in the OpenAPI document.
func (s *Server) authenticate(ctx huma.Context, next func(huma.Context)) {
	security := ctx.Operation().Security
	if len(security) == 0 {
		next(ctx)
		return
	}
	c := humagin.Unwrap(ctx)
	byQuery := slices.ContainsFunc(security, func(r map[string][]string) bool { _, ok := r[schemeQuery]; return ok })
	if q := c.Request.URL.Query(); byQuery && q.Has(paramToken) {
		// EventSource cannot send headers. The token leaves the URL here, so
		// that nothing behind can repeat it.
		r := c.Request.Clone(c.Request.Context())
		if r.Header.Get("Authorization") == "" {
			r.Header.Set("Authorization", "Bearer "+q.Get(paramToken))
		}
		q.Del(paramToken)
		r.URL.RawQuery = q.Encode()
		c.Request = r
	}
	who, err := s.cfg.Auth.Authenticate(c.Request)
	if err != nil {
		fail(c, err)
		return
	}
	requestFrom(c.Request.Context()).tenant = who.Tenant
	c.Request = c.Request.WithContext(auth.With(c.Request.Context(), who))
	next(ctx)
}

// readBody reads and checks the body before the operation sees it: whole,
// bounded, of a type the operation reads, and strict JSON unless the operation
// checks its documents itself.
func (s *Server) readBody(ctx huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(ctx)
	op := ctx.Operation()
	if err := checkQuery(c.Request.URL.RawQuery); err != nil {
		fail(c, err)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, bodyBytesMax))
	if err != nil {
		fail(c, bodyError(err))
		return
	}
	_ = http.NewResponseController(c.Writer).SetReadDeadline(time.Time{}) // read whole; the deadline would end a stream
	if err := checkBody(op, c.Request.Header.Get("Content-Type"), body); err != nil {
		fail(c, err)
		return
	}
	requestFrom(c.Request.Context()).body = body
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	next(ctx)
}

// checkQuery refuses what url.ParseQuery drops in silence, and values that
// not every database can hold.
func checkQuery(raw string) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return fault.New(fault.Validation, "the query is not well-formed: percent-encode the values")
	}
	for name, values := range q {
		if len(values) > 1 {
			return fault.New(fault.Validation, "the query is not valid").With(fault.Detail{
				Pointer: "/query/" + escapePointer(name), Message: "the parameter occurs more than once", Remedy: "send it once",
			})
		}
		if !isText(name) || !isText(values[0]) {
			return fault.New(fault.Validation, "the query holds U+0000 or bytes that are not UTF-8")
		}
	}
	return nil
}

// isText reports whether every database can hold v as text.
func isText(v string) bool { return utf8.ValidString(v) && !strings.Contains(v, "\x00") }

func bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.New(fault.Validation, "the request body did not arrive in time")
	}
	return fault.Wrap(err, fault.Validation, "the request body ended early or is not readable")
}

func checkBody(op *huma.Operation, contentType string, body []byte) error {
	blank := len(bytes.TrimSpace(body)) == 0
	if op.RequestBody == nil {
		if blank {
			return nil
		}
		if err := checkJSON(body); err != nil {
			return err
		}
		if text := string(bytes.TrimSpace(body)); text != "{}" && text != "null" {
			return fault.New(fault.Validation, "this route takes no body").With(fault.Detail{
				Message: "unexpected body", Remedy: "send no body, or {}",
			})
		}
		return nil
	}
	if blank && op.RequestBody.Required {
		return fault.New(fault.Validation, "this route needs a body").With(fault.Detail{
			Message: "the body is missing", Remedy: "see /docs for what this route accepts",
		})
	}
	if contentType != "" {
		media, params, err := mime.ParseMediaType(contentType)
		if strings.HasSuffix(media, "+json") {
			media = "application/json"
		}
		charset := strings.ToLower(params["charset"])
		if _, known := op.RequestBody.Content[media]; err != nil || !known || charset != "" && charset != "utf-8" {
			var types []string
			for t := range op.RequestBody.Content {
				types = append(types, t)
			}
			slices.Sort(types)
			return fault.New(fault.UnsupportedMedia, "this route does not read that content type").With(fault.Detail{
				Pointer: "/header/Content-Type", Message: "unsupported content type", Remedy: "send " + strings.Join(types, " or ") + " in UTF-8",
			})
		}
	}
	if blank || op.SkipValidateBody {
		return nil
	}
	return checkJSON(body)
}
