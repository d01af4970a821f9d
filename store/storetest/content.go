package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/session"
)

var contentTests = []test{
	{"states are rebuilt from patches", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		env := map[string]any{}
		head := s.StateID
		var versions []session.StateVersion
		var docs []string
		for i := range 70 {
			key := fmt.Sprintf("k%02d", i%13)
			env[key] = strings.Repeat("v", i)
			doc := encode(map[string]any{"environment": env})
			v := patched(head, fmt.Sprintf(`[{"op":"add","path":"/environment/%s","value":%q}]`, key, strings.Repeat("v", i)), doc)
			if i == 40 {
				v = snapshot(head, doc)
			}
			head, versions, docs = v.ID, append(versions, v), append(docs, doc)
		}
		row := l.Session
		row.StateID = head
		commit(t, st, l, session.Commit{Session: row, States: versions})
		for i, v := range versions {
			got, err := st.State(t.Context(), v.ID)
			if err != nil {
				t.Fatalf("State(%d) = %v", i, err)
			}
			patches := i + 1
			if i >= 40 {
				patches = i - 40
			}
			equal(t, "State()", got, session.State{ID: v.ID, SessionID: s.ID, ParentID: v.ParentID, Hash: v.Hash, Document: json.RawMessage(docs[i]), Patches: patches})
			if string(got.Document) != docs[i] {
				t.Errorf("Document = %s, want %s", got.Document, docs[i])
			}
		}
	}},
	{"every operation of RFC 6902", func(t *testing.T, st session.Store) {
		s := create(t, st, func(c *session.Creation) { c.State = snapshot("", `{"a":{"b":[1,2,3]},"c":null,"d~e/f":1}`) })
		l := claim(t, st, "w")
		head := s.StateID
		for _, step := range []struct{ patch, doc string }{
			{`[{"op":"add","path":"/a/b/1","value":9}]`, `{"a":{"b":[1,9,2,3]},"c":null,"d~e/f":1}`},
			{`[{"op":"add","path":"/a/b/-","value":null}]`, `{"a":{"b":[1,9,2,3,null]},"c":null,"d~e/f":1}`},
			{`[{"op":"remove","path":"/a/b/0"},{"op":"remove","path":"/c"}]`, `{"a":{"b":[9,2,3,null]},"d~e/f":1}`},
			{`[{"op":"move","from":"/a/b","path":"/z"}]`, `{"a":{},"d~e/f":1,"z":[9,2,3,null]}`},
			{`[{"op":"copy","from":"/z/0","path":"/a/n"},{"op":"test","path":"/a/n","value":9}]`, `{"a":{"n":9},"d~e/f":1,"z":[9,2,3,null]}`},
			{`[{"op":"replace","path":"/d~0e~1f","value":{"x":{}}}]`, `{"a":{"n":9},"d~e/f":{"x":{}},"z":[9,2,3,null]}`},
			{`[{"op":"replace","path":"","value":{"whole":true}}]`, `{"whole":true}`},
			{`[]`, `{"whole":true}`},
		} {
			v := patched(head, step.patch, step.doc)
			commit(t, st, l, session.Commit{Session: l.Session, States: []session.StateVersion{v}})
			got, err := st.State(t.Context(), v.ID)
			if err != nil || string(got.Document) != step.doc {
				t.Errorf("after %s: State() = %s, %v, want %s", step.patch, got.Document, err, step.doc)
			}
			head = v.ID
		}
	}},
	{"documents keep every digit and character", func(t *testing.T, st session.Store) {
		doc := `{"big":123456789012345678901234567890,"exp":1E+400,"html":"<a href='x'>&</a>","neg":-0.0,"nul":"\u0000","precise":0.1000000000000000055511151231257827,"ünï":"😀 \\ \" \u2028"}`
		s := create(t, st, func(c *session.Creation) { c.State = snapshot("", doc) })
		l := claim(t, st, "w")
		after := strings.Replace(doc, `"neg"`, `"more":9007199254740993.10,"neg"`, 1)
		v := patched(s.StateID, `[{"op":"add","path":"/more","value":9007199254740993.10}]`, after)
		commit(t, st, l, session.Commit{Session: l.Session, States: []session.StateVersion{v}})
		for id, want := range map[string]string{s.StateID: doc, v.ID: after} {
			if got, err := st.State(t.Context(), id); err != nil || string(got.Document) != want {
				t.Errorf("State() = %s, %v, want\n%s", got.Document, err, want)
			}
		}
	}},
	{"a state that does not match its hash is named", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		for name, v := range map[string]session.StateVersion{
			"other document": patched(s.StateID, `[{"op":"add","path":"/x","value":1}]`, `{"environment":{},"x":2}`),
			"failing patch":  patched(s.StateID, `[{"op":"remove","path":"/missing"}]`, `{"environment":{}}`),
			"failing test":   patched(s.StateID, `[{"op":"test","path":"/environment","value":1}]`, `{"environment":{}}`),
			"not a patch":    patched(s.StateID, `{"op":1}`, `{"environment":{}}`),
			"not JSON":       patched(s.StateID, "\x00\xff", `{"environment":{}}`),
		} {
			if _, _, err := st.Commit(t.Context(), l, session.Commit{Session: l.Session, States: []session.StateVersion{v}, TTL: ttl}); err != nil {
				continue // may be refused at the door just as well
			}
			if _, err := st.State(t.Context(), v.ID); err == nil || errors.Is(err, session.ErrNotFound) || !strings.Contains(err.Error(), v.ID) {
				t.Errorf("%s: State() = %v, want an error that names %s", name, err, v.ID)
			}
		}
	}},
	{"the chain of patches is bounded", func(t *testing.T, st session.Store) {
		s := create(t, st)
		l := claim(t, st, "w")
		head := s.StateID
		var versions []session.StateVersion
		for range 256 {
			v := patched(head, `[]`, `{"environment":{}}`)
			head, versions = v.ID, append(versions, v)
		}
		commit(t, st, l, session.Commit{Session: l.Session, States: versions})
		if got, err := st.State(t.Context(), head); err != nil || got.Patches != 256 {
			t.Errorf("State() = %d patches, %v, want 256", got.Patches, err)
		}
		over := patched(head, `[]`, `{"environment":{}}`)
		if _, _, err := st.Commit(t.Context(), l, session.Commit{Session: l.Session, States: []session.StateVersion{over}, TTL: ttl}); err == nil {
			t.Error("Commit of the 257th patch in a row succeeded")
		}
		again := snapshot(head, `{"environment":{}}`)
		commit(t, st, l, session.Commit{Session: l.Session, States: []session.StateVersion{again, patched(again.ID, `[]`, `{"environment":{}}`)}})
	}},
	{"unknown states and blobs", func(t *testing.T, st session.Store) {
		for _, id := range []string{newID(), "", "nonsense"} {
			if _, err := st.State(t.Context(), id); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("State(%q) = %v, want not found", id, err)
			}
		}
		for _, hash := range []string{hashOf([]byte("unknown")), "", "zz", strings.ToUpper(hashOf(nil))} {
			if _, err := st.Blob(t.Context(), hash); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Blob(%q) = %v, want not found", hash, err)
			}
		}
	}},
	{"blobs of every size and kind", func(t *testing.T, st session.Store) {
		create(t, st)
		l := claim(t, st, "w")
		random := make([]byte, 1<<20)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range random {
			random[i] = byte(rng.Uint32())
		}
		var blobs []session.Blob
		for _, data := range [][]byte{
			{}, {0}, []byte("a"), random[:255], random[:256], random[:257], random,
			bytes.Repeat([]byte("a"), 256), bytes.Repeat([]byte("a"), 257), bytes.Repeat([]byte{0}, 100_000),
			bytes.Repeat([]byte(`{"some":"json"},`), 5<<20/16), // 5 MB
			[]byte("\xff\xfe\x00 not UTF-8"),
		} {
			blobs = append(blobs, blob(data))
		}
		for range 2 { // the second time all are there already
			commit(t, st, l, session.Commit{Session: l.Session, Blobs: append(blobs, blobs[3])})
			for _, b := range blobs {
				got, err := st.Blob(t.Context(), b.Hash)
				if err != nil || !bytes.Equal(got, b.Data) {
					t.Errorf("Blob of %d bytes = %d bytes, %v", len(b.Data), len(got), err)
				}
			}
		}
	}},
	{"equal states of two sessions", func(t *testing.T, st session.Store) {
		a, b := create(t, st), create(t, st)
		for _, s := range []session.Session{a, b} {
			if got, err := st.State(t.Context(), s.StateID); err != nil || got.SessionID != s.ID {
				t.Errorf("State() = session %s, %v, want %s", got.SessionID, err, s.ID)
			}
		}
	}},
}

// encode returns the canonical form.
func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
