package executor_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
)

// tripwire listens on loopback and counts connections.
func tripwire(t testing.TB) (port string, hits *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hits = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, hits
}

// hostile are spellings of addresses that are never to be dialled.
var hostile = []string{
	// loopback
	"127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.255.255.254", "2130706433", "017700000001", "0x7f000001", "0x7f.0.0.1",
	"0177.0.0.1", "0177.0.0.01", "127.0.0.01", "00127.0.0.1", "127.0x0.0.1", "0", "0.0.0.0", "0.0.0.0.", "0x0", "00", "localhost", "LOCALHOST",
	"%31%32%37.0.0.1", "127%2e0%2e0%2e1", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]",
	// unicode digits and dots that name preparation maps to ASCII
	"①②⑦.⓪.⓪.①", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "１２７.0.0.1", "𝟏𝟐𝟕.0.0.1", "𝟙𝟚𝟟.𝟘.𝟘.𝟙", "⑫7.0.0.1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "loc\u00adalhost", "lo\u200bcalhost",
	// NAT64, 6to4, Teredo, site-local, unique local, link-local, multicast
	"[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::]", "[fec0::1]", "[fd00::1]", "[fd00:ec2::254]",
	"[fe80::1]", "[fe80::1%25lo]", "[::1%25lo]", "[ff02::1]", "[::ffff:169.254.169.254]", "[::ffff:10.0.0.1]", "[2001:db8::1]", "[100::1]",
	// private, link-local, metadata, shared, benchmark, broadcast
	"10.0.0.1", "10.1", "167772161", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.257", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.16689662",
	"100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "198.18.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "0.1.2.3",
	// names that resolve to them
	"rebind.example", "mapped.example", "private6.example", "nat64.example", "meta.example", "both.example",
}

func hostileNames(name string) []netip.Addr {
	return map[string][]netip.Addr{
		"rebind.example":   {netip.MustParseAddr("127.0.0.1")},
		"mapped.example":   {netip.MustParseAddr("::ffff:127.0.0.1")},
		"private6.example": {netip.MustParseAddr("fd00::1")},
		"nat64.example":    {netip.MustParseAddr("64:ff9b::7f00:1")},
		"meta.example":     {netip.MustParseAddr("169.254.169.254")},
		"both.example":     {netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")},
	}[name]
}

// IA1: no spelling of an address that is not public leads anywhere, be it the
// endpoint or the target of a redirect.
func TestHostileEndpoints(t *testing.T) {
	t.Parallel()
	port, hits := tripwire(t)
	redirector := newSink(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(http.StatusFound)
	})
	h := executor.NewHTTP(executor.HTTPConfig{
		Secrets: secrets("TOKEN", "canary-token"), Resolver: resolver(t, hostileNames),
		Rewrite: map[string]string{"https://api.example.com": redirector.URL},
	})
	for _, host := range hostile {
		for _, scheme := range []string{"http", "https"} {
			target := scheme + "://" + host + ":" + port + "/"
			_, err := run(t, h, call(api(t, "GET", target), `{}`))
			if err == nil || fault.CodeOf(err) != fault.EgressBlocked {
				t.Errorf("%s: error = %v, want %s", target, err, fault.EgressBlocked)
			} else if f := fault.From(err); strings.Contains(f.Error(), "10.0.0.1 ") || f.Retryable {
				t.Errorf("%s: error = %v, retryable %t", target, f, f.Retryable)
			}
			a := api(t, "GET", "https://api.example.com/r")
			a.HTTP.FollowRedirects = true
			if scheme == "https" {
				if _, err = run(t, h, call(a, fmt.Sprintf(`{"to":%q}`, target))); err == nil {
					t.Errorf("redirect to %s succeeded", target)
				}
			}
		}
	}
	for _, target := range []string{
		"file:///etc/passwd", "gopher://127.0.0.1:" + port + "/", "ftp://127.0.0.1:" + port, "//127.0.0.1:" + port, "http:127.0.0.1:" + port,
		"http://user:pw@127.0.0.1:" + port, "http://example.com@127.0.0.1:" + port, "http://127.0.0.1:" + port + "\\@example.com/", "http:///127.0.0.1:" + port,
		"http://127.0.0.1:0/", "http://127.0.0.1:99999/", "http://[::1/", "http:// 127.0.0.1:" + port, "http://127.0.0.1\t:" + port, "http://{host}:" + port + "/", "https://x.example/?t=${TOKEN}",
		"unix:///var/run/docker.sock", "", "/relative", "http://",
	} {
		_, err := run(t, h, call(api(t, "GET", target), `{"host":"127.0.0.1"}`))
		if err == nil || fault.CodeOf(err) != fault.EgressBlocked {
			t.Errorf("%q: error = %v, want %s", target, err, fault.EgressBlocked)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d connections reached the listener", n)
	}
}

// IA1: a path or query argument never chooses the host.
func TestHostileArgumentsKeepHost(t *testing.T) {
	t.Parallel()
	port, hits := tripwire(t)
	s := newSink(t, answerJSON(`{}`))
	h := newHTTP(t, executor.HTTPConfig{})
	for _, v := range []string{
		"127.0.0.1:" + port, "@127.0.0.1:" + port, "//127.0.0.1:" + port, "http://127.0.0.1:" + port, "\\\\127.0.0.1:" + port, "?@127.0.0.1:" + port, "#@127.0.0.1:" + port, ":" + port,
	} {
		_, _ = run(t, h, call(api(t, "GET", s.URL+"/{v}/x?y={v}"), fmt.Sprintf(`{"v":%q}`, v)))
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d connections reached the listener", n)
	}
	for _, r := range s.seen() {
		if !strings.HasSuffix(r.URL.Path, "/x") {
			t.Errorf("path = %s", r.URL.Path)
		}
	}
}

// IA2: the address that was checked is the one that is dialled.
func TestRebinding(t *testing.T) {
	t.Parallel()
	victim, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	var hits atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) })}
	go func() { _ = server.Serve(victim) }()
	t.Cleanup(func() { _ = server.Close() })
	_, port, _ := net.SplitHostPort(victim.Addr().String())
	honest, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	good := &http.Server{Handler: answerJSON(`{"ok":true}`)}
	go func() { _ = good.Serve(honest) }()
	t.Cleanup(func() { _ = good.Close() })

	var asked atomic.Int64
	h := executor.NewHTTP(executor.HTTPConfig{
		AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Resolver: resolver(t, func(string) []netip.Addr {
			if asked.Add(1)%3 == 0 {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.2")}
		}),
	})
	ok, refused := 0, 0
	for range 1000 {
		a := api(t, "POST", "http://rebind.example:"+port+"/") // once: a new connection each time
		_, err := run(t, h, call(a, `{}`))
		switch {
		case err == nil:
			ok++
		case fault.CodeOf(err) == fault.EgressBlocked:
			refused++
		default:
			t.Fatal(err)
		}
	}
	if hits.Load() != 0 || ok == 0 || refused == 0 {
		t.Errorf("victim hits = %d, allowed = %d, refused = %d; want 0 and some of both", hits.Load(), ok, refused)
	}
}

// IA3: proxy variables in the environment are not looked at.
func TestProxyEnvironmentIgnored(t *testing.T) {
	proxy := newSink(t, answerJSON(`{"from":"proxy"}`))
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	s := newSink(t, answerJSON(`{"from":"target"}`))
	u, _ := url.Parse(s.URL)
	h := newHTTP(t, executor.HTTPConfig{Resolver: resolver(t, func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} })})
	res := mustRun(t, h, call(api(t, "GET", "http://api.example.com:"+u.Port()+"/"), `{}`))
	if got := string(res.Output); got != `{"from":"target"}` || len(proxy.seen()) != 0 {
		t.Errorf("Output = %s, proxy saw %d requests", got, len(proxy.seen()))
	}
}

// The operator's rewrite leads a public origin to a private address, and
// nothing else becomes reachable by it.
func TestRewrite(t *testing.T) {
	t.Parallel()
	s := newSink(t, answerJSON(`{"ok":true}`))
	h := executor.NewHTTP(executor.HTTPConfig{
		Secrets: secrets("TOKEN", "canary-token"), Rewrite: map[string]string{"https://API.calendar.example.com:443/": s.URL},
	})
	a := api(t, "POST", "https://api.calendar.example.com/v1/events?x=1")
	a.HTTP.Auth = "Bearer ${TOKEN}"
	mustRun(t, h, call(a, `{}`))
	r := s.seen()[0]
	if r.RequestURI != "/v1/events?x=1" || r.Host != strings.TrimPrefix(s.URL, "http://") || r.Header.Get("Authorization") != "Bearer canary-token" {
		t.Errorf("request = %s, host %s, headers %v", r.RequestURI, r.Host, r.Header)
	}
	for _, endpoint := range []string{s.URL, "http://api.calendar.example.com/", "https://api.calendar.example.com:8443/"} {
		if _, err := run(t, h, call(api(t, "GET", endpoint), `{}`)); err == nil {
			t.Errorf("%s was called", endpoint)
		}
	}
	if n := len(s.seen()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ from, to, want string }{
		{"https://a.example", "http://127.0.0.1:9101", ""},
		{"a.example", "http://127.0.0.1:9101", "a.example"},
		{"https://a.example", "127.0.0.1:9101", "127.0.0.1:9101"},
		{"https://a.example/path", "http://127.0.0.1:9101", "scheme, host and port only"},
		{"https://a.example", "http://u:p@127.0.0.1", "user name"},
		{"https://a.example", "http://0x7f.1", "not an IP address"},
	} {
		err := executor.HTTPConfig{Rewrite: map[string]string{tc.from: tc.to}}.Validate()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("Rewrite %s → %s: error = %v, want %q in it", tc.from, tc.to, err, tc.want)
		}
	}
	if err := (executor.HTTPConfig{MaxResponse: -1}).Validate(); err == nil {
		t.Error("a negative limit was accepted")
	}
	defer func() {
		if recover() == nil {
			t.Error("NewHTTP accepted an invalid rewrite")
		}
	}()
	executor.NewHTTP(executor.HTTPConfig{Rewrite: map[string]string{"x": "y"}})
}

// A credential leaves without encryption only to an address the operator
// declared private.
func TestPlaintextCredential(t *testing.T) {
	t.Parallel()
	h := executor.NewHTTP(executor.HTTPConfig{
		Secrets:  secrets("TOKEN", "canary-token"),
		Resolver: resolver(t, func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("8.8.8.8")} }),
	})
	a := api(t, "GET", "http://public.example/")
	a.HTTP.Auth = "Bearer ${TOKEN}"
	_, err := run(t, h, call(a, `{}`))
	wantCode(t, err, fault.EgressBlocked)
}

// Ports of other protocols are not called on public addresses.
func TestPorts(t *testing.T) {
	t.Parallel()
	h := executor.NewHTTP(executor.HTTPConfig{Secrets: secrets()})
	for _, port := range []string{"22", "25", "53", "445", "1023"} {
		_, err := run(t, h, call(api(t, "GET", "https://8.8.8.8:"+port+"/"), `{}`))
		wantCode(t, err, fault.EgressBlocked)
	}
}
