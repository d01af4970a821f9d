package cow

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
)

const page = 64 << 10

// implementations are the ways to copy an image that work on this machine.
func implementations(t *testing.T, content []byte, reuse int) map[string]Image {
	best, err := New(content, reuse)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := best.Close(); err != nil {
			t.Error(err)
		}
	})
	return map[string]Image{"platform": best, "plain": newPlainImage(content)}
}

func content() []byte {
	b := make([]byte, 4*page)
	for i := page; i < 3*page; i++ {
		b[i] = byte(i*7 + i>>12)
	}
	return b
}

func TestCopiesArePrivate(t *testing.T) {
	t.Parallel()
	want := content()
	for name, im := range implementations(t, want, 4) {
		t.Run(name, func(t *testing.T) {
			a, err := im.Memory(8 * page)
			if err != nil {
				t.Fatal(err)
			}
			b, err := im.Memory(8 * page)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Free()
			inA, inB := a.Reallocate(uint64(len(want))), b.Reallocate(uint64(len(want)))
			for i := range inA {
				inA[i] = 0xaa
			}
			if !bytes.Equal(inB, want) {
				t.Error("writing to one copy changed another")
			}
			a.Free()
			c, err := im.Memory(8 * page)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Free()
			if !bytes.Equal(c.Reallocate(uint64(len(want))), want) {
				t.Error("a copy made after another was freed differs from the image")
			}
		})
	}
}

func TestGrowth(t *testing.T) {
	t.Parallel()
	want := content()
	for name, im := range implementations(t, want, 4) {
		t.Run(name, func(t *testing.T) {
			for range 3 { // later rounds may get a copy that was used before
				m, err := im.Memory(8 * page)
				if err != nil {
					t.Fatal(err)
				}
				m.Reallocate(uint64(len(want)))[0] = 9
				b := m.Reallocate(6 * page)
				if b[0] != 9 || !bytes.Equal(b[1:len(want)], want[1:]) || !bytes.Equal(b[len(want):], make([]byte, 2*page)) {
					t.Fatal("growing changed the content or did not add zeros")
				}
				for i := range b {
					b[i] = 0xbb
				}
				if m.Reallocate(9*page) != nil || m.Refused() != 9*page || m.Peak() != 6*page {
					t.Errorf("growing beyond the limit: refused %d, peak %d", m.Refused(), m.Peak())
				}
				m.Free()
			}
		})
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	want := content()
	for name, im := range implementations(t, want, 4) {
		t.Run(name, func(t *testing.T) {
			m, err := im.Memory(8 * page)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Free()
			b := m.Reallocate(uint64(len(want)))
			r := rand.New(rand.NewPCG(1, 2))
			for round := range 50 {
				for range 1 << (round % 12) {
					b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
				}
				if !m.Restore() {
					return // the self-test of the platform finds that too, and nothing is reused
				}
				if !bytes.Equal(b, want) {
					t.Fatalf("round %d: the restored memory differs from the image", round)
				}
			}
			if !m.Relimit(5*page) || m.Reallocate(6*page) != nil || m.Reallocate(5*page) == nil {
				t.Error("the new limit does not hold")
			}
		})
	}
}

// TestConcurrentCopies hammers one image from several goroutines.
func TestConcurrentCopies(t *testing.T) {
	t.Parallel()
	want := content()
	for _, im := range implementations(t, want, 3) {
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 100 {
					m, err := im.Memory((5 + i%3) * page)
					if err != nil {
						t.Error(err)
						return
					}
					b := m.Reallocate(uint64(len(want)))
					if !bytes.Equal(b, want) {
						t.Error("a copy differs from the image")
					}
					clear(b[g*page/4:])
					m.Free()
				}
			})
		}
		wg.Wait()
	}
}

func TestCopiesOutliveTheImage(t *testing.T) {
	t.Parallel()
	want := content()
	im, err := New(want, 2)
	if err != nil {
		t.Fatal(err)
	}
	m, err := im.Memory(8 * page)
	if err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(m.Reallocate(uint64(len(want))), want) {
		t.Error("closing the image changed a copy")
	}
	m.Free()
}
