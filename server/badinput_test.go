package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/server"
)

// What is wrong with a request is said in one shape, with a place and a remedy;
// it is never a failure of ours, and it changes nothing.
func TestBadInputIsRefusedEverywhere(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(does("search_free_slots")))
	id := b.create(`{"goal":"untouched"}`)
	before := b.snapshot(id)

	posts := []string{
		"/sessions", "/sessions/" + id + "/step", "/sessions/" + id + "/run", "/sessions/" + id + "/input",
		"/sessions/" + id + "/cancel", "/sessions/" + id + "/close", "/manifests/diff",
	}
	bodies := map[string]string{
		"truncated":      `{"goal":`,
		"not JSON":       `goal=x`,
		"array":          `[]`,
		"string":         `"x"`,
		"number":         `1`,
		"unknown name":   `{"goal":{"description":"x"},"surprise":1}`,
		"other case":     `{"Goal":{"description":"x"},"Answer":1,"Reason":"x","Old":"a","New":"b"}`,
		"twice":          `{"goal":"a","goal":"b","answer":1,"answer":2,"reason":"x","reason":"y","old":"a","old":"b"}`,
		"trailing":       `{"goal":"x"} {"goal":"y"}`,
		"bad UTF-8":      "{\"goal\":\"\xff\"}",
		"lone surrogate": `{"goal":"\ud800"}`,
		"NUL":            `{"goal":"\u0000"}`,
		"deep":           strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100),
		"very deep":      strings.Repeat("[", 500_000),
		"huge number":    `{"goal":"x","observation":{"environment":{"n":1e999999999}}}`,
		"long number":    `{"goal":"x","observation":{"environment":{"n":` + strings.Repeat("9", 5000) + `}}}`,
		"oversize":       `{"goal":"` + strings.Repeat("x", 1<<20) + `"}`,
		"many names":     `{` + strings.TrimSuffix(manyNames(60_000), ",") + `}`,
		"BOM":            "\ufeff{}",
	}
	for _, path := range posts {
		for name, body := range bodies {
			a := b.do("POST", path, body)
			wantRefused(t, "POST "+path+" "+name, a)
		}
		for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense", "application/json; charset=latin1", "application/xml"} {
			if strings.HasSuffix(path, "/step") || strings.HasSuffix(path, "/run") || strings.HasSuffix(path, "/close") {
				continue // they take no body, so none of a wrong type
			}
			a := b.do("POST", path, `{"goal":"x"}`, "Content-Type: "+contentType)
			if a.status != http.StatusUnsupportedMediaType {
				t.Errorf("POST %s as %s = %d, want 415", path, contentType, a.status)
			}
			wantRefused(t, path, a)
		}
	}
	for _, body := range []string{
		`{"goal":{}}`, `{"goal":""}`, `{"goal":{"description":""}}`, `{"goal":{"description":1}}`, `{"goal":{"description":"x","extra":1}}`, `{"goal":null}`, `{"goal":7}`,
		`{"goal":{"Description":"x"}}`, `{"goal":"   "}`, `{"goal":"` + strings.Repeat("x", 40_000) + `"}`, `{}`,
		`{"goal":"x","max_steps":0}`, `{"goal":"x","max_steps":-1}`, `{"goal":"x","max_steps":10001}`, `{"goal":"x","max_steps":1.5}`, `{"goal":"x","max_steps":"7"}`, `{"goal":"x","max_steps":1e300}`,
		`{"goal":"x","observation":[]}`, `{"goal":"x","observation":"x"}`, `{"goal":"x","observation":{"extra":1}}`, `{"goal":"x","observation":{"environment":1}}`, `{"goal":"x","observation":{"timestamp":1}}`, `{"goal":"x","observation":{"timestamp":"yesterday"}}`,
		`{"goal":"x","manifest":"nothing@1.0.0"}`, `{"goal":"x","manifest":7}`, `{"goal":"x","manifest":"a@b@c"}`,
		`{"goal":"x","allowed_actions":["fly"]}`, `{"goal":"x","allowed_actions":"fly"}`, `{"goal":"x","allowed_actions":[1]}`,
		`{"goal":"x","labels":[]}`, `{"goal":"x","labels":{"a":1}}`, `{"goal":"x","labels":{"a":"` + strings.Repeat("x", 300) + `"}}`, `{"goal":"x","labels":{` + strings.TrimSuffix(manyLabels(100), ",") + `}}`,
		`{"goal":"x","external_id":"` + strings.Repeat("x", 300) + `"}`, `{"goal":"x","run":"yes"}`, `{"goal":"x","run":1}`, `{"goal":"x","model":{}}`,
	} {
		wantRefused(t, "POST /sessions "+body[:min(len(body), 60)], b.do("POST", "/sessions", body))
	}
	for _, body := range []string{`{}`, `{"answer":1,"value":1}`, `{"call_id":"nope","answer":1}`, `{"call_id":7,"answer":1}`, `{"answer":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`} {
		wantRefused(t, "input "+body, b.do("POST", "/sessions/"+id+"/input", body))
	}
	for _, body := range []string{``, `{}`, `[]`, `null`, `x`, `name: [`, "\xff\xfe", `{"name":"A","name":"B"}`, strings.Repeat("[", 100_000), "a: &a [*a, *a]", "? {}", "\x00", strings.Repeat("a", 1<<20+1), "--- a\n--- b"} {
		for _, contentType := range []string{"application/json", "application/yaml"} {
			wantRefused(t, "POST /manifests "+body[:min(len(body), 40)], b.do("POST", "/manifests", body, "Content-Type: "+contentType))
			a := b.do("POST", "/manifests/validate", body, "Content-Type: "+contentType)
			if a.status == http.StatusOK && strings.Contains(a.body, `"valid":true`) || a.status >= 500 {
				t.Errorf("validate %.40q = %d %s", body, a.status, a.body)
			}
		}
	}
	for _, path := range []string{
		"/sessions?limit=0", "/sessions?limit=201", "/sessions?limit=x", "/sessions?limit=1&limit=2", "/sessions?status=asleep", "/sessions?cursor=%ff", "/sessions?cursor=%00", "/sessions?cursor=x", "/sessions?nonsense=1",
		"/sessions?limit=%zz", "/sessions?a;b", "/sessions?manifest=%ed%a0%80", "/sessions?cursor=" + strings.Repeat("x", 600), "/manifests?cursor=%27%3B--", "/manifests?limit=-1",
		"/sessions/" + id + "/events?after=x", "/sessions/" + id + "/events?after=9223372036854775808", "/sessions/" + id + "/events?wait=61", "/sessions/" + id + "/events?wait=-1", "/sessions/" + id + "/events?follow=maybe", "/sessions/" + id + "/events?types=,",
		"/sessions/" + id + "/transcript?format=xml", "/sessions/" + id + "?x=1", "/manifests/a/b?x=1", "/healthz?x=1",
		"/manifests/%00/1", "/manifests/%ff/1", "/manifests/MeetBot/" + strings.Repeat("1", 300), "/manifests/MeetBot/2.0.0.0", "/manifests/MeetBot/2.0%00", "/sessions/%2e%2e", "/sessions//events", "/%00", "/sessions/" + strings.ToUpper(id),
	} {
		wantRefused(t, "GET "+path, b.do("GET", path, ""))
	}
	for _, path := range []string{"/sessions", "/healthz", "/sessions/" + id} {
		for _, body := range []string{`{"x":1}`, `{`, strings.Repeat(" ", 1<<20+1)} {
			wantRefused(t, "GET "+path+" with a body", b.do("GET", path, body))
		}
	}
	for _, header := range []string{"Idempotency-Key: " + strings.Repeat("k", 300), "Idempotency-Key: a b", "Idempotency-Key: \xff"} {
		wantRefused(t, header, b.do("POST", "/sessions", `{"goal":"x"}`, header))
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, path := range []string{"/", "/sessions", "/sessions/" + id, "/sessions/" + id + "/step", "/manifests", "/healthz", "/docs", "/nothing"} {
			wantRefused(t, method+" "+path, b.do(method, path, ""))
		}
	}
	// Malformed headers that only tell preferences do no harm.
	for _, accept := range []string{"application/json;x,", ";", ",,,", "text/html;q=", "a;q=b;c", strings.Repeat("a,", 1000), "\xff;\xfe"} {
		for _, path := range []string{"/sessions", "/", "/sessions/" + id} {
			if a := b.do("GET", path, "", "Accept: "+accept); a.status != http.StatusOK {
				t.Errorf("GET %s, Accept: %.20q = %d, want 200", path, accept, a.status)
			}
		}
	}
	if after := b.snapshot(id); after != before {
		t.Errorf("refused requests changed something:\n%s\nwas\n%s", after, before)
	}
	if logs := b.logs.String(); strings.Contains(logs, `"level":"ERROR"`) {
		t.Errorf("bad input was logged as a failure of ours:\n%.2000s", logs[strings.Index(logs, `"level":"ERROR"`):])
	}
}

func wantRefused(t *testing.T, what string, a answer) {
	t.Helper()
	var p server.Problem
	if a.status < 400 || a.status >= 500 {
		t.Errorf("%s = %d, want a 4xx\n%.300s", what, a.status, a.body)
		return
	}
	if a.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: content type %q\n%.300s", what, a.header.Get("Content-Type"), a.body)
		return
	}
	a.json(t, &p)
	if p.OK || p.Code == "" || p.Message == "" || p.Detail != p.Message || p.Status != a.status || p.RequestID == "" || p.Details == nil {
		t.Errorf("%s: problem lacks members: %s", what, a.body)
	}
	for _, d := range p.Details {
		if d.Message == "" {
			t.Errorf("%s: detail without a message: %s", what, a.body)
		}
	}
}

// snapshot is everything a client can see.
func (b *bench) snapshot(id string) string {
	b.t.Helper()
	return b.do("GET", "/sessions", "").body + b.do("GET", "/manifests", "").body + b.do("GET", "/sessions/"+id+"/transcript", "").body
}

func manyNames(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `"n%d":%d,`, i, i)
	}
	return s.String()
}

func manyLabels(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `"n%d":"",`, i)
	}
	return s.String()
}
