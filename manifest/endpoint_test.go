package manifest_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"

	"github.com/oap-runtime/oap/manifest"
)

// S2-29: what an action may call, and by which fields.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ members, want string }{
		{`"endpoint":"https://a.example.com:8443/{id}/x?y={id}"`, ""},
		{`"endpoint":"http://127.0.0.1:9/"`, ""},
		{`"endpoint":"HTTPS://a.example.com"`, ""},
		{`"endpoint":"https://${HOST}/"`, "an endpoint cannot hold a secret"},
		{`"endpoint":"https://a.example.com/?key=${KEY}"`, "an endpoint cannot hold a secret"},
		{`"endpoint":"https://{id}.example.com/"`, "an argument cannot choose the host"},
		{`"endpoint":"{id}://a.example.com/"`, "is not a"},
		{`"endpoint":"https://a.example.com/{id"`, "is not a URL"},
		{`"endpoint":"https://a.example.com/a b"`, "is not a URL"},
		{`"endpoint":"https://a.example.com/#x"`, "a fragment"},
		{`"endpoint":"https://@a.example.com/"`, "a user name or password"},
		{`"endpoint":"https:///x"`, "is not an absolute"},
		{`"endpoint":"file:///etc/passwd"`, "is not an absolute"},
		{`"endpoint":"https:a.example.com"`, "is not an absolute"},
		{`"endpoint":""`, "is not an absolute"},
		{`"endpoint":5`, "got a number, want a string"},
		{`"endpoint":"https://a.example.com/` + strings.Repeat("x", 4096) + `"`, "the most is 4096"},
		{`"endpoint":"https://a.example.com/","headers":{"a b":"x"}`, "is not a header name"},
		{`"endpoint":"https://a.example.com/","headers":{"X":5}`, "got a number, want a string"},
		{`"endpoint":"https://a.example.com/","headers":{"X":"{nope}"}`, `"nope" is not an argument`},
		{`"endpoint":"https://a.example.com/","headers":{"X":"` + strings.Repeat("x", 1025) + `"}`, "the most is 1024"},
		{`"endpoint":"https://a.example.com/","headers":{"Idempotency-Key":"x"}`, "the runtime sets Idempotency-Key itself"},
	} {
		_, err := manifest.Parse([]byte(`{"name":"E","version":"1.0.0","actions":[{"type":"invoke_api","name":"a","input_schema":{"properties":{"id":{"type":"string"}}},` + tc.members + `}]}`))
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.members, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: Parse = %v, want %q", tc.members, err, tc.want)
		}
	}
}

// The canonical form is RFC 8785, as another implementation has it.
func TestCanonical(t *testing.T) {
	t.Parallel()
	const extensions = `{"\ud83d\ude00":1,"\ufb33":2,"é":3,"z":4,"A":5,"":6,
		"text":"\u0000\u001f\b\f\n\r\t\"\\\/\u007f\u2028<&>€😀",
		"numbers":[0,-0,0.0,1E3,1e21,1e-7,0.000001,123456789012345,-1.50,333333333.33333329,4.9e-324,1.7976931348623157e308],
		"values":[null,true,false,[],{}]}`
	m := parse(t, `{"name":"C","version":"1.0.0","actions":[{"type":"read_file","name":"r"}],"extensions":`+extensions+`}`)
	want, err := jcs.Transform(m.JSON())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.JSON(), want) {
		t.Errorf("JSON =\n%s\nwant\n%s", m.JSON(), want)
	}
	var member struct{ Extensions json.RawMessage }
	if err := json.Unmarshal(m.JSON(), &member); err != nil {
		t.Fatal(err)
	}
	if want, err = jcs.Transform([]byte(extensions)); err != nil || !bytes.Equal(member.Extensions, want) {
		t.Errorf("extensions =\n%s\nwant\n%s, %v", member.Extensions, want, err)
	}
}
