package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/oap-runtime/oap/internal/fault"
)

// inlineMax is how many bytes of JSON an event holds itself. Longer values go
// to a blob, where equal content is stored once.
const inlineMax = 1024

// blobs collects the content that one commit stores by hash.
type blobs struct{ list []Blob }

// value returns v inline, or by reference after adding its content to b.
func (b *blobs) value(v json.RawMessage) Value {
	if v == nil {
		return Value{}
	}
	if len(v) <= inlineMax {
		return Value{JSON: v}
	}
	h := hashOf(v)
	for _, have := range b.list {
		if have.Hash == h {
			return Value{Blob: h, Size: len(v)}
		}
	}
	b.list = append(b.list, Blob{Hash: h, Data: v})
	return Value{Blob: h, Size: len(v)}
}

// get returns the content of a value that b is about to store.
func (b *blobs) get(v Value) (json.RawMessage, bool) {
	for _, have := range b.list {
		if have.Hash == v.Blob {
			return have.Data, true
		}
	}
	return nil, false
}

// text returns s as a JSON string value.
func (b *blobs) text(s string) Value {
	return b.value(encode(s))
}

// resolve returns the JSON text of v.
func (m *Manager) resolve(ctx context.Context, v Value) (json.RawMessage, error) {
	if v.Blob == "" {
		return v.JSON, nil
	}
	if data, ok := m.blobs.get(v.Blob); ok {
		return data, nil
	}
	data, err := m.cfg.Store.Blob(ctx, v.Blob)
	if err != nil {
		return nil, unreadable(err, "content "+v.Blob)
	}
	m.blobs.put(v.Blob, data)
	return data, nil
}

// unreadable makes of missing content a failure of ours: it is never the
// outcome of a call.
func unreadable(err error, what string) error {
	if fault.IsOutcome(err) {
		return fault.Wrap(err, fault.Internal, "%s cannot be read", what)
	}
	return fmt.Errorf("read %s: %w", what, err)
}

func (m *Manager) resolveText(ctx context.Context, v Value) (string, error) {
	raw, err := m.resolve(ctx, v)
	if err != nil || raw == nil {
		return "", err
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("text value is not a string: %w", err)
	}
	return s, nil
}

// opaque are the members of event data that hold other people's JSON, in which
// nothing is a Value.
var opaque = map[string]bool{"value": true, "context": true, "schema": true, "details": true, "extra": true, "usage": true}

// flatten returns event data with every Value replaced by what it stands for.
func (m *Manager) flatten(ctx context.Context, data json.RawMessage) (json.RawMessage, error) {
	if !bytes.Contains(data, []byte(`{"json":`)) && !bytes.Contains(data, []byte(`{"blob":`)) {
		return data, nil
	}
	doc, err := decode(data)
	if err != nil {
		return nil, err
	}
	out, err := m.flattenValue(ctx, doc)
	if err != nil {
		return nil, err
	}
	return encode(out), nil
}

func (m *Manager) flattenValue(ctx context.Context, v any) (any, error) {
	switch v := v.(type) {
	case []any:
		for i := range v {
			var err error
			if v[i], err = m.flattenValue(ctx, v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if inner, ok := v["json"]; ok && len(v) == 1 {
			return inner, nil
		}
		if hash, ok := v["blob"].(string); ok && len(v) == 2 {
			raw, err := m.resolve(ctx, Value{Blob: hash})
			if err != nil {
				return nil, err
			}
			return raw, nil
		}
		for k := range v {
			if opaque[k] {
				continue
			}
			var err error
			if v[k], err = m.flattenValue(ctx, v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// decode reads JSON with every digit of its numbers.
func decode(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return v, nil
}

// encode writes the canonical form: members sorted, no white space, nothing
// escaped for HTML. It is for values that cannot fail to encode.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("session: encode %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
