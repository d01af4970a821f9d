package server_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"mime"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/oap-runtime/oap/server"
	"github.com/oap-runtime/oap/session"
)

var update = flag.Bool("update", false, "rewrite testdata and docs/openapi.json")

// A contract is the OpenAPI document with its schemas compiled.
type contract struct {
	doc   map[string]any
	paths []pathPattern

	mu       sync.Mutex // guards compiler and schemas
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema
}

type pathPattern struct {
	re       *regexp.Regexp
	template string
	fixed    bool
}

const contractURL = "https://oap.example/openapi.json"

func loadContract(t *testing.T, spec []byte) *contract {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(spec))
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{doc: doc.(map[string]any), compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	c.compiler.UseLoader(jsonschema.SchemeURLLoader{})
	if err := c.compiler.AddResource(contractURL, doc); err != nil {
		t.Fatal(err)
	}
	for template := range c.doc["paths"].(map[string]any) {
		re := regexp.MustCompile(`\\\{[^}]+\\\}`).ReplaceAllString(regexp.QuoteMeta(template), `[^/]+`)
		c.paths = append(c.paths, pathPattern{regexp.MustCompile("^" + re + "$"), template, !strings.Contains(template, "{")})
	}
	return c
}

// template finds the path of the document that a request path is for.
func (c *contract) template(path string) string {
	found := ""
	for _, p := range c.paths {
		if p.re.MatchString(path) && (found == "" || p.fixed) {
			found = p.template
		}
	}
	return found
}

func (c *contract) schema(pointer string) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.schemas[pointer]; ok {
		return s, nil
	}
	s, err := c.compiler.Compile(contractURL + "#" + pointer)
	c.schemas[pointer] = s
	return s, err
}

func token(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

func dig(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// check compares one answer with what the document promises.
func (c *contract) check(t *testing.T, method, path string, status int, header http.Header, body []byte) {
	t.Helper()
	if method == http.MethodHead || method == http.MethodOptions || strings.HasPrefix(path, "/docs") && status == http.StatusOK {
		return
	}
	media, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	pointer := "/components/schemas/Problem"
	template := c.template(path)
	op, _ := dig(c.doc, "paths", template, strings.ToLower(method)).(map[string]any)
	switch {
	case op != nil:
		response, _ := dig(op, "responses", strconv.Itoa(status)).(map[string]any)
		if response == nil {
			t.Errorf("%s %s answered %d, which the document does not mention", method, template, status)
			return
		}
		told := map[string]bool{}
		headers, _ := response["headers"].(map[string]any)
		for name := range headers {
			told[http.CanonicalHeaderKey(name)] = true
		}
		for name := range header {
			if documented[name] && !told[name] {
				t.Errorf("%s %s %d sent the header %s, which the document does not mention", method, template, status, name)
			}
		}
		if len(body) == 0 {
			return
		}
		if dig(response, "content", media) == nil {
			t.Errorf("%s %s %d has the content type %q, which the document does not mention", method, template, status, media)
			return
		}
		pointer = "/paths/" + token(template) + "/" + strings.ToLower(method) + "/responses/" + strconv.Itoa(status) + "/content/" + token(media) + "/schema"
	case media != "application/problem+json":
		t.Errorf("%s %s answered %d with %q; the document does not know the route, so only a problem is right", method, path, status, media)
		return
	}
	if !strings.HasSuffix(media, "json") || media == "application/openapi+json" {
		return
	}
	s, err := c.schema(pointer)
	if err != nil {
		t.Errorf("schema %s: %v", pointer, err)
		return
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Errorf("%s %s: body is not JSON: %v\n%s", method, path, err, body)
		return
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s %s %d does not keep to the document: %v\n%s", method, template, status, err, body)
	}
}

// documented are the headers that must not be sent without being described.
var documented = map[string]bool{
	"Etag": true, "Location": true, "Link": true, "Retry-After": true, "Idempotency-Replayed": true, "Www-Authenticate": true, "X-Request-Id": true,
}

// A contractChecker checks every answer that passes through it. Streams are
// passed on as they come.
type contractChecker struct {
	t        *testing.T
	next     http.RoundTripper
	contract *contract
}

func (c *contractChecker) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(r)
	if err != nil || strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	c.contract.check(c.t, r.Method, r.URL.EscapedPath(), resp.StatusCode, resp.Header, body)
	return resp, nil
}

// The published document is the one that the server serves. Run with -update
// after a change of the API.
func TestOpenAPIDocumentIsPublished(t *testing.T) {
	t.Parallel()
	s, err := server.New(server.Config{Manager: &session.Manager{}})
	if err != nil {
		t.Fatal(err)
	}
	const file = "../docs/openapi.json"
	if *update {
		if err := os.WriteFile(file, s.OpenAPI(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	published, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(published, s.OpenAPI()) {
		t.Errorf("%s is not what the server serves: run go test ./server -run OpenAPI -update", file)
	}
}

// Every schema compiles, every example fits its schema, every operation tells
// what it is.
func TestOpenAPIDocumentIsSound(t *testing.T) {
	t.Parallel()
	s, err := server.New(server.Config{Manager: &session.Manager{}})
	if err != nil {
		t.Fatal(err)
	}
	c := loadContract(t, s.OpenAPI())
	if v := c.doc["openapi"]; v != "3.1.0" {
		t.Errorf("openapi = %v, want 3.1.0", v)
	}
	for name := range dig(c.doc, "components", "schemas").(map[string]any) {
		if _, err := c.schema("/components/schemas/" + token(name)); err != nil {
			t.Errorf("schema %s: %v", name, err)
		}
	}
	media := func(where string, content any) {
		types, _ := content.(map[string]any)
		for name, m := range types {
			pointer := where + "/content/" + token(name) + "/schema"
			schema, err := c.schema(pointer)
			if err != nil {
				t.Errorf("%s: %v", pointer, err)
				continue
			}
			example := dig(m, "example")
			if example == nil {
				continue
			}
			if err := schema.Validate(example); err != nil {
				t.Errorf("example of %s: %v", where, err)
			}
		}
	}
	ids := map[string]bool{}
	for path, item := range dig(c.doc, "paths").(map[string]any) {
		for method, o := range item.(map[string]any) {
			where := "/paths/" + token(path) + "/" + method
			op := o.(map[string]any)
			id, _ := op["operationId"].(string)
			if id == "" || ids[id] || op["summary"] == nil || op["tags"] == nil || op["security"] == nil {
				t.Errorf("%s %s lacks an operationId of its own, a summary, tags or security", method, path)
			}
			ids[id] = true
			media(where+"/requestBody", dig(op, "requestBody", "content"))
			for status, r := range op["responses"].(map[string]any) {
				media(where+"/responses/"+status, dig(r, "content"))
			}
			for _, status := range []string{"400", "403", "500"} {
				if dig(op, "responses", status, "content", "application/problem+json") == nil {
					t.Errorf("%s %s does not describe %s", method, path, status)
				}
			}
			for _, name := range regexp.MustCompile(`\{([^}]+)\}`).FindAllStringSubmatch(path, -1) {
				found := false
				params, _ := op["parameters"].([]any)
				for _, p := range params {
					found = found || dig(p, "name") == name[1] && dig(p, "in") == "path"
				}
				if !found {
					t.Errorf("%s %s does not describe its parameter %s", method, path, name[1])
				}
			}
		}
	}
	if _, err := json.Marshal(c.doc); err != nil {
		t.Error(err)
	}
}
