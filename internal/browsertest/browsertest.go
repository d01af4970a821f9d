// Package browsertest gives tests a headless Chromium.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Patience bounds a whole browser test, so that a page that never does what is
// waited for fails instead of hanging.
const Patience = 2 * time.Minute

// New starts a private Chromium and returns a context for chromedp.Run. The
// browser ends with the test. Without a Chromium on the machine the test is
// skipped, unless OAP_TEST_REQUIRE names chromium: then it fails.
func New(t testing.TB) context.Context {
	t.Helper()
	path := find()
	if path == "" {
		if slices.Contains(strings.Split(os.Getenv("OAP_TEST_REQUIRE"), ","), "chromium") {
			t.Fatal("no Chromium found, and OAP_TEST_REQUIRE asks for it: install the package chromium")
		}
		t.Skip("no Chromium found: install the package chromium to run this test")
	}
	profile, err := os.MkdirTemp("", "oap-chromium-")
	if err != nil {
		t.Fatal(err)
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(profile),
		chromedp.NoSandbox, // the pages are ours, and root cannot use Chromium's sandbox
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(Patience),
	)
	ctx, stop := context.WithTimeout(context.Background(), Patience)
	alloc, stopAlloc := chromedp.NewExecAllocator(ctx, opts...)
	tab, stopTab := chromedp.NewContext(alloc, chromedp.WithErrorf(t.Logf))
	t.Cleanup(func() {
		stopTab()
		stopAlloc()
		stop()
		_ = os.RemoveAll(profile) // Chromium's last processes may still write there
	})
	if err := chromedp.Run(tab); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return tab
}

func find() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
