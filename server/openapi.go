package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

// Names of the security schemes.
const (
	schemeBearer = "bearer"
	schemeQuery  = "access_token"
	paramToken   = "access_token" // the query parameter of schemeQuery
)

const schemaPrefix = "#/components/schemas/"

const tagOperations = "operations"

var tags = []struct {
	name, description string
	prefixes          []string
}{
	{"sessions", "Goals and their way to completion.", []string{"/sessions"}},
	{"manifests", "What agents may do.", []string{"/manifests"}},
	{tagOperations, "For those who run the server. They need no key.", nil},
}

func (s *Server) openAPIConfig() huma.Config {
	registry := huma.NewMapRegistry(schemaPrefix, schemaName)
	registry.RegisterTypeAlias(reflect.TypeFor[session.Event](), reflect.TypeFor[Event]())
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info:    &huma.Info{Title: "OAP session runtime", Version: s.cfg.Version, Description: docAPI},
		Components: &huma.Components{
			Schemas: registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				schemeBearer: {Type: "http", Scheme: "bearer", Description: "An API key. A server without keys, which listens on loopback only, asks for none."},
				schemeQuery:  {Type: "apiKey", In: "query", Name: paramToken, Description: "The same key, for EventSource."},
			},
		},
	}
	for _, t := range tags {
		doc.Tags = append(doc.Tags, &huma.Tag{Name: t.name, Description: t.description})
	}
	return huma.Config{
		OpenAPI:       doc,
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
	}
}

// schemaName puts the package before the names of types that are not this
// package's, since several have a Usage.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := huma.DefaultSchemaNamer(t, hint)
	pkg := path.Base(t.PkgPath())
	if t.Name() == "" || pkg == "." || pkg == "server" || strings.EqualFold(pkg, name) {
		return name
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + name
}

// An operation is a huma.Operation that is still being described.
type operation struct {
	huma.Operation
	bodyExample any
	examples    map[int]any
}

// open says that the operation needs no key.
func (o *operation) open() *operation {
	o.Security = []map[string][]string{}
	delete(o.Responses, "401")
	delete(o.Responses, "503")
	return o
}

// byQuery says that the key may come as a query parameter.
func (o *operation) byQuery() *operation {
	o.Security = append(o.Security, map[string][]string{schemeQuery: {}})
	return o
}

// body gives an example of the request body.
func (o *operation) body(example json.RawMessage) *operation {
	o.bodyExample = example
	return o
}

// answer gives the status of success and an example of its body.
func (o *operation) answer(status int, example json.RawMessage) *operation {
	o.DefaultStatus = status
	if example != nil {
		o.examples = map[int]any{status: example}
	}
	return o
}

// also describes an answer without a body, and its headers.
func (o *operation) also(status int, description string, headers ...string) *operation {
	r := &huma.Response{Description: description, Headers: map[string]*huma.Param{}}
	for _, name := range headers {
		r.Headers[name] = header("")
	}
	o.Responses[strconv.Itoa(status)] = r
	return o
}

// content describes an answer that the handler writes itself.
func (o *operation) content(status int, mediaType string, schema *huma.Schema) *operation {
	key := strconv.Itoa(status)
	if o.Responses[key] == nil {
		o.Responses[key] = &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{}}
	}
	o.Responses[key].Content[mediaType] = &huma.MediaType{Schema: schema}
	return o
}

// may adds failures that the operation can answer with.
func (o *operation) may(codes ...fault.Code) *operation {
	for _, code := range codes {
		key := strconv.Itoa(statuses[code])
		r := o.Responses[key]
		if r == nil {
			r = &huma.Response{
				Description: http.StatusText(statuses[code]) + ":",
				Content:     map[string]*huma.MediaType{problemType: {Schema: &huma.Schema{Ref: schemaPrefix + "Problem"}}},
			}
			o.Responses[key] = r
		}
		r.Description += " " + string(code)
	}
	return o
}

// manifestBody describes a body that package manifest reads.
func (o *operation) manifestBody() *operation {
	o.SkipValidateBody = true
	o.RequestBody = &huma.RequestBody{Required: true, Description: "A manifest, as JSON or YAML.", Content: map[string]*huma.MediaType{}}
	for _, t := range []string{"application/json", "application/yaml", "application/x-yaml", "text/yaml"} {
		o.RequestBody.Content[t] = &huma.MediaType{Schema: schemaObject("a manifest")}
	}
	o.RequestBody.Content["application/json"].Example = exampleManifest
	return o
}

// document adds to the registered operation what huma does not derive.
func (o *operation) document(item *huma.PathItem) {
	reg := methodsOf[o.Method](item)
	if o.bodyExample != nil {
		reg.RequestBody.Content["application/json"].Example = o.bodyExample
	}
	for status, example := range o.examples {
		reg.Responses[strconv.Itoa(status)].Content["application/json"].Example = example
	}
	// A handler may answer 200 where 201 or 202 is usual, with the same body.
	for _, usual := range []string{"201", "202"} {
		if r := reg.Responses[usual]; r != nil {
			same := *r
			same.Description = map[string]string{"201": "It was there already", "202": "It rests: it waits, or has ended"}[usual]
			reg.Responses["200"] = &same
		}
	}
	for status, r := range reg.Responses {
		if r.Headers == nil {
			r.Headers = map[string]*huma.Param{}
		}
		r.Headers["X-Request-Id"] = header("the request's id")
		switch status {
		case "200":
			if o.OperationID == "read-events" {
				r.Headers["Link"] = header("page only: what follows, with rel=\"next\"")
			}
		case "401":
			r.Headers["WWW-Authenticate"] = header("Bearer")
		case "409", "429", "502", "503":
			r.Headers["Retry-After"] = header("seconds to wait, when retryable")
		}
	}
}

func header(description string) *huma.Param {
	return &huma.Param{Description: description, Schema: &huma.Schema{Type: huma.TypeString}}
}

func schemaText(description string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: description}
}

func schemaObject(description string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: description}
}

func schemaOf[T any](s *Server) *huma.Schema {
	return s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[T](), true, "")
}

func (s *Server) schemaTranscript() *huma.Schema { return schemaOf[session.Transcript](s) }
func (s *Server) schemaEventPage() *huma.Schema  { return schemaOf[EventPage](s) }

// schemaStream describes the stream. OpenAPI 3.1 has no words for server-sent
// events, so the text does it, and the schemas of the data are there by name.
func (s *Server) schemaStream() *huma.Schema {
	for _, register := range []func(*Server) *huma.Schema{schemaOf[Event], schemaOf[CaughtUp], schemaOf[End], schemaOf[session.Progress]} {
		register(s)
	}
	return schemaText("server-sent events; see the description of the operation")
}

// finishOpenAPI writes the document down. It does not change any more.
func (s *Server) finishOpenAPI() error {
	doc := s.api.OpenAPI()
	doc.Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	raw, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		return fmt.Errorf("write the OpenAPI document: %w", err)
	}
	indented.WriteByte('\n')
	s.spec = indented.Bytes()
	return nil
}
