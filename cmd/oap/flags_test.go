package main

import (
	"maps"
	"testing"
)

func TestParseRewrites(t *testing.T) {
	t.Parallel()
	got, err := parseRewrites([]string{"https://a.example.com=http://127.0.0.1:1,https://b.example.com=http://127.0.0.1:2", "https://c.example.com=http://127.0.0.1:3"})
	want := map[string]string{"https://a.example.com": "http://127.0.0.1:1", "https://b.example.com": "http://127.0.0.1:2", "https://c.example.com": "http://127.0.0.1:3"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("parseRewrites = %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"x", "=http://a", "https://a=", "https://a=http://b,https://a=http://c"} {
		if _, err := parseRewrites([]string{bad}); err == nil {
			t.Errorf("parseRewrites(%q) = nil, want an error", bad)
		}
	}
}

func TestParseBuckets(t *testing.T) {
	t.Parallel()
	got, err := parseBuckets([]string{"https://s3.example.com/reports", "https://s3.example.com/reports?name=shared&readonly&tenant=a&tenant=b&prefix=p/"}, "key", "secret")
	if err != nil || len(got) != 2 {
		t.Fatalf("parseBuckets = %v, %v, want two buckets", got, err)
	}
	if m := got["reports"]; m.Bucket == nil || m.ReadOnly || m.Tenants != nil {
		t.Errorf("reports = %+v, want everybody to read and write", m)
	}
	if m := got["shared"]; !m.ReadOnly || len(m.Tenants) != 2 {
		t.Errorf("shared = %+v, want two tenants to read", m)
	}
	for _, bad := range []string{"reports", "https://s3.example.com", "https://s3.example.com/a?nonsense=1", "ftp://s3.example.com/a"} {
		if _, err := parseBuckets([]string{bad}, "", ""); err == nil {
			t.Errorf("parseBuckets(%q) = nil, want an error", bad)
		}
	}
	if _, err := parseBuckets([]string{"https://s3.example.com/a", "https://s3.example.com/a"}, "", ""); err == nil {
		t.Error("parseBuckets of a bucket twice = nil, want an error")
	}
}

func TestIsLoopback(t *testing.T) {
	t.Parallel()
	tests := []struct {
		addr     string
		loopback bool
		bad      bool
	}{
		{"127.0.0.1:8000", true, false},
		{"127.9.9.9:0", true, false},
		{"[::1]:8000", true, false},
		{"localhost:8000", true, false},
		{":8000", false, false},
		{"0.0.0.0:8000", false, false},
		{"[::]:8000", false, false},
		{"192.168.1.2:8000", false, false},
		{"example.com:8000", false, false},
		{"127.0.0.1", false, true},
	}
	for _, tt := range tests {
		got, err := isLoopback(tt.addr)
		if got != tt.loopback || (err != nil) != tt.bad {
			t.Errorf("isLoopback(%q) = %v, %v, want %v", tt.addr, got, err, tt.loopback)
		}
	}
}

func TestRedactDSN(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"postgres://oap:secret@db/oap?sslmode=disable", "postgres://oap:xxxxx@db/oap?sslmode=disable"},
		{"postgres://oap@db/oap?password=secret", "postgres://oap@db/oap?password=xxxxx"},
		{"/var/lib/oap.db", "/var/lib/oap.db"},
	}
	for _, tt := range tests {
		if got := redactDSN(tt.in); got != tt.want {
			t.Errorf("redactDSN(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
