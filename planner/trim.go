package planner

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// cut returns a JSON value of at most about max bytes: v itself, or its
// beginning as a string that says how much is missing.
func cut(v json.RawMessage, max int) json.RawMessage {
	if len(v) <= max {
		return v
	}
	return json.RawMessage(oneLine(fmt.Sprintf("%s [cut: %d bytes in all]", clip(string(v), max), len(v))))
}

// shorten returns a JSON document of at most max bytes that keeps the shape of
// doc: long strings lose their ends and long lists and objects their last
// parts, each with a mark that ends in "…". It cuts as little as a few fixed
// measures allow, so that the same document is always cut alike.
func shorten(doc json.RawMessage, max int) string {
	for _, m := range [...]measure{{2048, 100}, {512, 40}, {128, 16}, {32, 6}} {
		if s, ok := m.apply(doc, max); ok {
			return s
		}
	}
	return string(cut(doc, max/2)) // quoting may double it
}

// A measure says how many bytes of a string and how many parts of a list or
// object are kept.
type measure struct{ text, parts int }

// apply reads the document as tokens: it may be much larger than what is kept
// of it. ok is false when that is still larger than max.
func (m measure) apply(doc json.RawMessage, max int) (s string, ok bool) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	w := shortener{measure: m, d: d, max: max}
	if err := w.value(0); err != nil {
		return "", false
	}
	return w.out.String(), w.out.Len() <= max
}

type shortener struct {
	measure
	d   *json.Decoder
	out bytes.Buffer
	max int
}

var errTooLarge = errors.New("the shortened document is too large")

func (w *shortener) value(depth int) error {
	if w.out.Len() > w.max {
		return errTooLarge
	}
	t, err := w.d.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Delim:
		if depth == depthMax {
			w.out.WriteString(`"…"`)
			return w.skipRest()
		}
		return w.compound(t, depth)
	case string:
		if len(t) > w.text {
			t = fmt.Sprintf("%s [%d bytes in all] …", clip(t, w.text), len(t))
		}
		w.out.WriteString(oneLine(t))
	default:
		w.out.WriteString(oneLine(t))
	}
	return nil
}

// compound writes the first parts of a list or object and counts the others.
func (w *shortener) compound(opening json.Delim, depth int) error {
	object := opening == '{'
	w.out.WriteByte(byte(opening))
	n := 0
	for ; w.d.More(); n++ {
		kept := n < w.parts
		if kept && n > 0 {
			w.out.WriteByte(',')
		}
		if object {
			key, err := w.d.Token()
			if err != nil {
				return err
			}
			if kept {
				w.out.WriteString(oneLine(key) + ":")
			}
		}
		var err error
		if kept {
			err = w.value(depth + 1)
		} else {
			err = w.skip()
		}
		if err != nil {
			return err
		}
	}
	if more := n - w.parts; more > 0 {
		if object {
			fmt.Fprintf(&w.out, `,"…":"%d more members …"`, more)
		} else {
			fmt.Fprintf(&w.out, `,"%d more …"`, more)
		}
	}
	closing, err := w.d.Token()
	if err != nil {
		return err
	}
	w.out.WriteString(closing.(json.Delim).String())
	return nil
}

// skip passes over the next value.
func (w *shortener) skip() error {
	t, err := w.d.Token()
	if _, compound := t.(json.Delim); err != nil || !compound {
		return err
	}
	return w.skipRest()
}

// skipRest passes over the rest of a list or object whose bracket was read.
func (w *shortener) skipRest() error {
	for open := 1; open > 0; {
		t, err := w.d.Token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
	}
	return nil
}
