package executor

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
)

const (
	// ratioMax bounds how much larger than its compressed form a body may
	// become; a larger one is a bomb and ends the call with LimitExceeded.
	ratioMax = 100
	// ratioFloor is the size up to which the ratio does not matter.
	ratioFloor = 256 << 10
	// readChunk is how much is read of a body at once.
	readChunk = 32 << 10
)

// receive reads an answer and makes it the call's output.
func (x *exchange) receive(ctx context.Context, resp *http.Response) (json.RawMessage, error) {
	defer resp.Body.Close()
	success := resp.StatusCode >= 200 && resp.StatusCode < 300
	most := x.h.cfg.MaxResponse
	if m := x.call.Action.HTTP.MaxResponse; m > 0 {
		most = m
	}
	declared := resp.ContentLength
	if !success {
		most, declared = excerptRead, -1
	}
	b := body{wire: resp.Body, max: most}
	var data []byte
	var err error
	if x.call.Action.HTTP.Method != http.MethodHead {
		data, err = b.read(resp.Header.Get("Content-Encoding"), declared)
	}
	x.usage.BytesIn += b.received
	switch {
	case !success: // what could be read is enough for an excerpt
		return nil, x.failed(resp, string(data), err != nil)
	case b.broken != nil:
		return nil, x.lost(ctx, b.broken)
	case errors.Is(err, errTooLarge):
		return nil, x.performed(fault.LimitExceeded, "size", err.Error(), "ask for less, or raise max_response_kb")
	case errors.Is(err, errBomb):
		return nil, x.performed(fault.LimitExceeded, "ratio", err.Error(), "")
	case err != nil:
		return nil, x.performed(fault.OutputInvalid, "content_encoding", err.Error(), "")
	}
	return x.decode(resp.Header.Get("Content-Type"), data)
}

// performed is the outcome of a call whose receiver reported success but whose
// answer cannot be used.
func (x *exchange) performed(code fault.Code, rule, message, remedy string) error {
	what := "the answer of %s is not usable"
	if x.call.Action.Effect != manifest.Read {
		what = "%s was performed, but its answer is not usable"
	}
	return fault.New(code, what, x.call.Action.Name).With(fault.Detail{Code: rule, Message: message, Remedy: remedy})
}

// decode makes the output of a body. No body at all is null.
func (x *exchange) decode(contentType string, data []byte) (json.RawMessage, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return json.RawMessage("null"), nil
	}
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil && contentType != "" {
		media = "malformed"
	}
	if charset := strings.ToLower(params["charset"]); charset != "" && charset != "utf-8" && charset != "utf8" && charset != "us-ascii" {
		return nil, x.performed(fault.OutputInvalid, "charset", "the answer is not in UTF-8 but in "+quoteShort(x.redact(charset)), "")
	}
	isJSON := contentType == "" || media == "application/json" || media == "text/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
	if !isJSON && wantsText(x.call.Action.Output) {
		if !utf8.Valid(data) {
			return nil, x.performed(fault.OutputInvalid, "utf8", "the answer is not valid UTF-8", "")
		}
		return jsonString(x.redact(string(data))), nil
	}
	if !isJSON {
		return nil, x.performed(fault.OutputInvalid, "content_type", "the answer is "+quoteShort(x.redact(contentType))+" and not JSON", "text is accepted when output_schema is a string")
	}
	doc, err := normalizeJSON(data, x.redact)
	if e, ok := errors.AsType[*jsonError](err); ok {
		return nil, x.performed(fault.OutputInvalid, e.Code, e.Error(), "")
	}
	return doc, nil
}

// wantsText reports whether an output schema is that of a string (S2-31).
func wantsText(s *manifest.Schema) bool {
	if s == nil {
		return false
	}
	var declared struct{ Type string }
	return json.Unmarshal(s.JSON(), &declared) == nil && declared.Type == "string"
}

var (
	errTooLarge = errors.New("the answer is too large")
	errBomb     = fmt.Errorf("the answer is compressed to less than a %dth of its size", ratioMax)
)

// A body reads an answer within its limits.
type body struct {
	wire     io.Reader
	max      int64
	received int64 // bytes as sent
	broken   error // the transport's error, if that is what ended the reading
}

// Read counts what the decompressor takes.
func (b *body) Read(p []byte) (int, error) {
	if b.received > b.max {
		return 0, errTooLarge
	}
	n, err := b.wire.Read(p)
	b.received += int64(n)
	if err != nil && err != io.EOF {
		b.broken = err
	}
	return n, err
}

// read returns the decompressed body, of which declared is the size as sent, or
// -1. With an error it returns what could be read before.
func (b *body) read(encoding string, declared int64) ([]byte, error) {
	tooLarge := fmt.Errorf("%w: over %d bytes", errTooLarge, b.max)
	var from io.Reader = b
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		if declared > b.max {
			return nil, tooLarge
		}
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(b)
		if errors.Is(err, io.EOF) && b.received == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, errors.New("the answer says that it is gzip and is not")
		}
		from = z
	default:
		return nil, errors.New("the answer is compressed in a way that was not offered")
	}
	var out bytes.Buffer
	chunk := make([]byte, readChunk)
	for {
		n, err := from.Read(chunk)
		out.Write(chunk[:n])
		size := int64(out.Len())
		switch {
		case size > b.max:
			return out.Bytes()[:b.max], tooLarge
		case from != io.Reader(b) && size > ratioFloor && size/ratioMax > b.received:
			return out.Bytes(), errBomb
		case err == io.EOF:
			return out.Bytes(), nil
		case errors.Is(err, errTooLarge):
			return out.Bytes(), tooLarge
		case err != nil && b.broken != nil:
			return out.Bytes(), b.broken
		case err != nil:
			return out.Bytes(), errors.New("the answer's compression is damaged")
		}
	}
}
