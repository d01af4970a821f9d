package client

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSSE(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     []message
	}{
		{"one", "id: 1\nevent: a\ndata: {}\n\n", []message{{"1", "a", []byte("{}")}}},
		{"line endings", "data:x\r\rdata: y\r\n\r\n", []message{{data: []byte("x")}, {data: []byte("y")}}},
		{"several lines", "data: a\ndata:  b\ndata\n\n", []message{{data: []byte("a\n b\n")}}},
		{"comments and unknown fields", ": hello\nretry: 5\nx: y\n\ndata: z\n\n", []message{{data: []byte("z")}}},
		{"cut off", "data: a\n\ndata: b\n", []message{{data: []byte("a")}}},
		{"empty", "", nil},
	}
	for _, tt := range tests {
		for _, r := range []io.Reader{strings.NewReader(tt.in), iotest.OneByteReader(strings.NewReader(tt.in))} {
			got, err := readMessages(r)
			if !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
			}
		}
	}
}

func readMessages(r io.Reader) (list []message, err error) {
	s := newSSEReader(r)
	for {
		m, err := s.next()
		if err != nil {
			return list, err
		}
		list = append(list, m)
	}
}

// However a stream is cut into reads, it says the same.
func FuzzSSE(f *testing.F) {
	f.Add("id: 1\nevent: a\ndata: {}\n\n: c\r\rdata\r\n\r\n")
	f.Fuzz(func(t *testing.T, in string) {
		whole, err1 := readMessages(strings.NewReader(in))
		parts, err2 := readMessages(iotest.OneByteReader(strings.NewReader(in)))
		if !reflect.DeepEqual(whole, parts) || fmt.Sprint(err1) != fmt.Sprint(err2) {
			t.Errorf("whole %q %v, in parts %q %v", whole, err1, parts, err2)
		}
	})
}
