package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// What models and tools write cannot steer the terminal.
func TestClean(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"plain ünïcode ✓\n\tnext", "plain ünïcode ✓\n\tnext"},
		{"\x1b[2J\x1b]0;title\x07red\x1b[31m", "[2J]0;titlered[31m"},
		{"a\rb\bc\x00d\u009be", "abcde"},
		{"abc\u202edcba\u2066", "abcdcba"},
		{"bad \xff utf-8", "bad  utf-8"},
	}
	for _, tt := range tests {
		if got := clean(tt.in); got != tt.want {
			t.Errorf("clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestBlock(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in     string
		width, lines int
		want         []string
	}{
		{"text", `"one two three four"`, 12, 5, []string{"one two", "three four"}},
		{"a long word", `"abcdefghijklmnop"`, 10, 5, []string{"abcdefghij", "klmnop"}},
		{"one line", `"a\nb  c\n"`, 20, 1, []string{"a b c"}},
		{"one line, cut", `"abcdefghijkl"`, 6, 1, []string{"abcde…"}},
		{"too many lines", `"a\nb\nc\nd"`, 20, 3, []string{"a", "b", "… 2 more lines"}},
		{"an object", `{"a": "<b>"}`, 20, 3, []string{`{"a":"<b>"}`}},
		{"a failure's text", `code: what & why`, 20, 3, []string{"code: what & why"}},
		{"nothing", ``, 20, 3, []string{""}},
	}
	for _, tt := range tests {
		if got := block(json.RawMessage(tt.in), tt.width, tt.lines); !slices.Equal(got, tt.want) {
			t.Errorf("%s: block = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzBlock(f *testing.F) {
	f.Add(`"one two three\tfour\n"`, 12, 5)
	f.Add(`{"a":[1,2]}`, 3, 1)
	f.Fuzz(func(t *testing.T, in string, width, lines int) {
		width, lines = 10+abs(width)%200, 1+abs(lines)%20
		got := block(json.RawMessage(in), width, lines)
		if len(got) > lines {
			t.Errorf("block(%q) has %d lines, want at most %d", in, len(got), lines)
		}
		for _, line := range got {
			if strings.ContainsAny(line, "\x1b\r\n") || utf8.RuneCountInString(line) > max(width, 20) {
				t.Errorf("block(%q, %d) has the line %q", in, width, line)
			}
		}
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}
