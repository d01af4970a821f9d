// Package auth says who is asking: it turns a credential into a Principal and
// carries it through a request's context.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
)

// A Principal is the identity behind a request. Everything stored belongs to
// its Tenant.
type Principal struct {
	Tenant  string   `json:"tenant"`
	Subject string   `json:"subject"`
	Scopes  []string `json:"scopes,omitempty"` // nil means all
}

// Anonymous is who asks when no credential is configured, which the command
// allows on loopback only.
var Anonymous = Principal{Tenant: "default", Subject: "anonymous"}

// Has reports whether p may use something that requires scope.
func (p Principal) Has(scope string) bool {
	return p.Scopes == nil || slices.Contains(p.Scopes, scope)
}

type key struct{}

// With returns a context that carries p.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, key{}, p)
}

// From returns the context's principal, or Anonymous.
func From(ctx context.Context) Principal {
	if p, ok := ctx.Value(key{}).(Principal); ok {
		return p
	}
	return Anonymous
}

// An Authenticator resolves bearer API keys. It holds only their hashes. The
// zero value accepts everybody as Anonymous.
type Authenticator struct {
	keys []apiKey
}

type apiKey struct {
	hash [sha256.Size]byte
	who  Principal
}

// NewAuthenticator returns an Authenticator that accepts exactly the given
// keys. Each key is "secret" or "tenant:secret".
func NewAuthenticator(keys []string) (*Authenticator, error) {
	a := &Authenticator{}
	for i, k := range keys {
		tenant, secret, ok := strings.Cut(k, ":")
		if !ok {
			tenant, secret = Anonymous.Tenant, k
		}
		if tenant == "" || len(secret) < 16 {
			return nil, fault.New(fault.Validation, "API key %d is not usable: give it as secret or tenant:secret, with a secret of at least 16 characters", i+1)
		}
		a.keys = append(a.keys, apiKey{sha256.Sum256([]byte(secret)), Principal{Tenant: tenant, Subject: "key-" + tenant}})
	}
	return a, nil
}

// Authenticate returns the principal of r's "Authorization: Bearer" header. It
// fails with code Unauthenticated when keys are configured and none matches.
func (a *Authenticator) Authenticate(r *http.Request) (Principal, error) {
	if a == nil || len(a.keys) == 0 {
		return Anonymous, nil
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return Principal{}, fault.New(fault.Unauthenticated, "no credential: send the header Authorization: Bearer <key>")
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	var found *apiKey
	for i := range a.keys { // compare with all, so that time tells nothing
		if subtle.ConstantTimeCompare(sum[:], a.keys[i].hash[:]) == 1 {
			found = &a.keys[i]
		}
	}
	if found == nil {
		return Principal{}, fault.New(fault.Unauthenticated, "the API key is not known here")
	}
	return found.who, nil
}
