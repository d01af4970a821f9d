package client

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
)

// sseLineBytesMax bounds one line of a stream; a longer one ends it with an
// error. An event carries at most one call's output.
const sseLineBytesMax = 64 << 20

// A message is one server-sent event.
type message struct {
	id   string
	name string
	data []byte
}

// An sseReader reads a stream of server-sent events as the HTML standard
// defines it.
type sseReader struct {
	s *bufio.Scanner
}

func newSSEReader(r io.Reader) *sseReader {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), sseLineBytesMax)
	s.Split(splitLine)
	return &sseReader{s}
}

// next returns the next message with data. It returns io.EOF at the end; a
// message that the end cut off is dropped.
func (r *sseReader) next() (message, error) {
	var m message
	var data [][]byte
	for r.s.Scan() {
		line := r.s.Text()
		if line == "" {
			if data != nil {
				m.data = bytes.Join(data, []byte("\n"))
				return m, nil
			}
			m = message{}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			m.id = value
		case "event":
			m.name = value
		case "data":
			data = append(data, []byte(value))
		}
	}
	if err := r.s.Err(); err != nil {
		return message{}, fmt.Errorf("read the event stream: %w", err)
	}
	return message{}, io.EOF
}

// splitLine is a bufio.SplitFunc for lines that end in CR LF, LF or CR.
func splitLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	i := bytes.IndexAny(data, "\r\n")
	switch {
	case i < 0 && atEOF && len(data) > 0:
		return len(data), data, nil
	case i < 0:
		return 0, nil, nil
	case data[i] == '\n':
		return i + 1, data[:i], nil
	case i+1 < len(data) && data[i+1] == '\n':
		return i + 2, data[:i], nil
	case i+1 == len(data) && !atEOF:
		return 0, nil, nil // the LF of a CR LF may still come
	}
	return i + 1, data[:i], nil
}
