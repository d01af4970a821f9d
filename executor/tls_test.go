package executor_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
)

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

func (a authority) issue(t testing.TB, until time.Time, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Unix(0, 0), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// IA10: certificates are verified and old protocols refused; nothing falls
// back.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	later := time.Now().Add(time.Hour)
	for _, tc := range []struct {
		name   string
		config *tls.Config // nil speaks plain HTTP
		reason string      // empty for success
	}{
		{"valid", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, later, "127.0.0.1")}}, ""},
		{"valid tls 1.2", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, later, "127.0.0.1")}, MaxVersion: tls.VersionTLS12}, ""},
		{"expired", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, time.Unix(1, 0), "127.0.0.1")}}, "expired"},
		{"wrong name", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, later, "other.example")}}, "another name"},
		{"unknown authority", &tls.Config{Certificates: []tls.Certificate{stranger.issue(t, later, "127.0.0.1")}}, "unknown authority"},
		{"tls 1.0", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, later, "127.0.0.1")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "handshake"},
		{"tls 1.1", &tls.Config{Certificates: []tls.Certificate{ca.issue(t, later, "127.0.0.1")}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "handshake"},
		{"plain http", nil, "does not speak TLS"},
	} {
		s := httptest.NewUnstartedServer(answerJSON(`{"ok":true}`))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		if s.TLS = tc.config; tc.config != nil {
			s.StartTLS()
		} else {
			s.Start()
		}
		endpoint := "https://" + s.Listener.Addr().String() + "/"
		res, err := run(t, newHTTP(t, executor.HTTPConfig{RootCAs: roots}), call(api(t, "POST", endpoint), `{}`))
		s.Close()
		if tc.reason == "" {
			if err != nil || string(res.Output) != `{"ok":true}` {
				t.Errorf("%s: %s, %v", tc.name, res.Output, err)
			}
			continue
		}
		// Nothing was sent, which is certain even for effect once.
		if f := wantCode(t, err, fault.EgressFailed); f.Retryable || !strings.Contains(f.Message, tc.reason) {
			t.Errorf("%s: error = %v, retryable %t, want %q", tc.name, f, f.Retryable, tc.reason)
		}
	}
}

// HTTP/2 is spoken where it is offered, on a connection of its own for effect
// once.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	remotes := map[string]int{}
	var mu sync.Mutex
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		remotes[r.Method+r.RemoteAddr]++
		mu.Unlock()
		answerJSON(strconv.Quote(r.Proto))(w, r)
	}))
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, time.Now().Add(time.Hour), "127.0.0.1")}}
	s.StartTLS()
	t.Cleanup(s.Close)
	h := newHTTP(t, executor.HTTPConfig{RootCAs: roots})
	for range 3 {
		for _, method := range []string{"GET", "POST"} {
			if res := mustRun(t, h, call(api(t, method, s.URL), `{}`)); string(res.Output) != `"HTTP/2.0"` {
				t.Errorf("%s: protocol %s", method, res.Output)
			}
		}
	}
	if len(remotes) != 4 {
		t.Errorf("connections = %v, want one for all reads and one for each POST", remotes)
	}
}
