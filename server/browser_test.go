package server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/oap-runtime/oap/internal/browsertest"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/server"
)

// A web page cannot reach a server on loopback through a name of its own (AU10).
func TestHostIsChecked(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(), func(c *server.Config) { c.Hosts = []string{"Agents.example.com"} })
	for host, ok := range map[string]bool{
		"localhost": true, "LOCALHOST:8000": true, "127.0.0.1:1": true, "[::1]:8000": true, "agents.example.com": true,
		"evil.example": false, "evil.example:8000": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "10.0.0.1": false, "localhost.": false,
	} {
		for _, path := range []string{"/sessions", "/healthz", "/docs", "/nothing"} {
			a := b.do("GET", path, "", "Host: "+host)
			if !ok {
				wantProblem(t, a, http.StatusForbidden, fault.ScopeDenied)
			} else if a.status == http.StatusForbidden {
				t.Errorf("Host %s = %d, want it accepted", host, a.status)
			}
		}
	}
}

// Pages of other origins can read nothing and change nothing unless allowed
// (AU10); those that are allowed can use the whole API.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	b := setup(t, plays(), func(c *server.Config) { c.Origins = []string{"https://app.example.com", "null"} })
	for origin, allowed := range map[string]bool{
		"https://app.example.com": true, "null": true,
		"https://evil.example": false, "http://app.example.com": false, "https://app.example.com.evil.example": false, "https://app.example.com:8443": false, "x": false,
	} {
		a := b.do("GET", "/sessions", "", "Origin: "+origin)
		if got := a.header.Get("Access-Control-Allow-Origin"); (got == origin) != allowed || !allowed && got != "" {
			t.Errorf("GET from %s: Access-Control-Allow-Origin %q", origin, got)
		}
		if a.header.Get("Access-Control-Allow-Credentials") != "" || !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Origin") {
			t.Errorf("GET from %s: headers %v", origin, a.header)
		}
		a = b.do("OPTIONS", "/sessions", "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
		if (a.status == http.StatusNoContent) != allowed {
			t.Errorf("preflight from %s = %d", origin, a.status)
		}
		a = b.do("POST", "/sessions", `{"goal":"x"}`, "Origin: "+origin)
		if allowed && a.status != http.StatusCreated {
			t.Errorf("POST from %s = %d, want 201", origin, a.status)
		}
		if !allowed {
			wantProblem(t, a, http.StatusForbidden, fault.ScopeDenied)
		}
	}
	if a := b.do("POST", "/sessions", `{"goal":"x"}`, "Origin: "+b.url); a.status != http.StatusCreated {
		t.Errorf("POST of our own page = %d, want 201", a.status)
	}
	wantProblem(t, b.do("POST", "/sessions", `{"goal":"x"}`, "Sec-Fetch-Site: cross-site"), http.StatusForbidden, fault.ScopeDenied)
	open := setup(t, plays(), func(c *server.Config) { c.Origins = []string{"*"} })
	if a := open.do("GET", "/sessions", "", "Origin: https://any.example"); a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("with every origin allowed: %v", a.header)
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t, plays())
	for _, path := range []string{"/sessions", "/nothing", "/docs", "/docs/docs.js", "/healthz", "/openapi.json"} {
		h := b.do("GET", path, "").header
		csp := h.Get("Content-Security-Policy")
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("GET %s: headers %v", path, h)
		}
	}
}

// The documentation works in a browser under its policy: it shows every
// operation and sends a request, and markup in an answer stays text (AU10).
func TestDocsInABrowser(t *testing.T) {
	t.Parallel()
	b := setup(t, plays())
	hostile := `<img src=x onerror=\"document.title='hacked'\">`
	id := b.create(`{"goal":"` + hostile + `"}`)
	tab := browsertest.New(t)
	var title, answer string
	var operations, images int
	err := chromedp.Run(tab,
		chromedp.Navigate(b.url+"/docs#get-session"),
		chromedp.WaitVisible(`#get-session form`),
		chromedp.Evaluate(`document.querySelectorAll("details.op").length`, &operations),
		chromedp.SendKeys(`#get-session input[name="id"]`, id),
		chromedp.Click(`#get-session button[type="submit"]`),
		chromedp.WaitVisible(`#get-session pre:not([hidden])`),
		chromedp.Poll(`document.querySelector("#get-session form pre").textContent.includes("onerror")`, nil),
		chromedp.Text(`#get-session form pre`, &answer),
		chromedp.Evaluate(`document.images.length`, &images),
		chromedp.Title(&title),
	)
	if err != nil {
		t.Fatal(err)
	}
	if operations != 21 {
		t.Errorf("the page shows %d operations, want 21", operations)
	}
	if !strings.Contains(answer, id) || images != 0 || title != "OAP session runtime test" {
		t.Errorf("answer %s, %d images, title %q", answer, images, title)
	}
}
