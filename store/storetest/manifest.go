package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/session"
)

func manifestOf(tenant, name, version, digest string) session.StoredManifest {
	return session.StoredManifest{
		Tenant: tenant, Ref: session.ManifestRef{Name: name, Version: version, Digest: digest},
		Source: []byte(`{"name":"` + name + `","version":"` + version + `","pad":"` + strings.Repeat("x", 1000) + `"}`),
	}
}

func putManifest(t *testing.T, st session.Store, m session.StoredManifest) {
	t.Helper()
	if created, err := st.PutManifest(t.Context(), m); !created || err != nil {
		t.Fatalf("PutManifest(%+v) = %t, %v", m.Ref, created, err)
	}
}

var manifestTests = []test{
	{"put and find", func(t *testing.T, st session.Store) {
		all := []session.StoredManifest{
			manifestOf(tenant, "shop", "1.10.0", "d2"), // the newest is the last registered, not the highest
			manifestOf(tenant, "shop", "1.9.0", "d1"),
			manifestOf(tenant, "desk", "1.0.0", "d3"),
			manifestOf("other", "shop", "7.0.0", "d7"),
		}
		for _, m := range all {
			putManifest(t, st, m)
		}
		for _, tt := range []struct {
			ref  session.ManifestRef
			want int
		}{
			{session.ManifestRef{Digest: "d2"}, 0},
			{session.ManifestRef{Name: "shop", Version: "1.10.0"}, 0},
			{session.ManifestRef{Name: "shop"}, 1},
			{session.ManifestRef{Name: "desk"}, 2},
			{all[2].Ref, 2},
		} {
			got, err := st.GetManifest(t.Context(), tenant, tt.ref)
			want := all[tt.want]
			if err != nil || got.CreatedAt.IsZero() {
				t.Errorf("GetManifest(%+v) = %v, %v", tt.ref, got.CreatedAt, err)
			}
			want.CreatedAt = got.CreatedAt
			equal(t, "GetManifest()", got, want)
		}
		for _, ref := range []session.ManifestRef{{Digest: "d7"}, {Name: "shop", Version: "7.0.0"}, {Name: "none"}, {}, {Name: "sho"}, {Digest: "\x00"}} {
			_, err := st.GetManifest(t.Context(), tenant, ref)
			wantCode(t, "GetManifest()", err, fault.NotFound)
		}
	}},
	{"the same again is not an error", func(t *testing.T, st session.Store) {
		m := manifestOf(tenant, "shop", "1.0.0", "d1")
		putManifest(t, st, m)
		if created, err := st.PutManifest(t.Context(), m); created || err != nil {
			t.Errorf("PutManifest(again) = %t, %v, want false", created, err)
		}
		m.Ref.Digest = "d2"
		created, err := st.PutManifest(t.Context(), m)
		wantCode(t, "PutManifest(other content)", err, fault.ManifestConflict)
		if got, err := st.GetManifest(t.Context(), tenant, session.ManifestRef{Name: "shop"}); created || err != nil || got.Ref.Digest != "d1" {
			t.Errorf("GetManifest() = %+v, %v, want the first content", got.Ref, err)
		}
		putManifest(t, st, manifestOf("other", "shop", "1.0.0", "d2")) // no conflict across tenants
	}},
	{"list is newest first in pages", func(t *testing.T, st session.Store) {
		var want []string
		for _, v := range []string{"a", "b", "c", "d", "e"} {
			putManifest(t, st, manifestOf(tenant, "m", v, "d"+v))
			want = append(want, v)
		}
		putManifest(t, st, manifestOf("other", "m", "x", "dx"))
		slices.Reverse(want)
		var got []string
		cursor := ""
		for {
			rows, next, err := st.ListManifests(t.Context(), tenant, 2, cursor)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				got = append(got, r.Ref.Version)
				if r.Source != nil || r.Tenant != tenant || r.CreatedAt.IsZero() {
					t.Errorf("ListManifests() row = %+v, want no source", r)
				}
			}
			if next == "" {
				break
			}
			cursor = next
		}
		if !slices.Equal(got, want) {
			t.Errorf("ListManifests() = %v, want %v", got, want)
		}
		for _, c := range []string{"x", "!!!", "MTI"} {
			_, _, err := st.ListManifests(t.Context(), tenant, 2, c)
			wantCode(t, "ListManifests(cursor)", err, fault.Validation)
		}
	}},
}
