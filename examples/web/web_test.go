package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/oap-runtime/oap/internal/browsertest"
)

// A person posts a goal on the page, sees each step as it happens, answers the
// question although the connection broke in between, and reads the transcript.
func TestPageInChromium(t *testing.T) {
	t.Parallel()
	tab := browsertest.New(t)
	page := httptest.NewServer(http.FileServer(http.Dir(".")))
	t.Cleanup(page.Close)
	wire := newWire(t, startDemo(t, page.URL))

	var status, steps, transcript, problem string
	var waiting, finished, failed int
	err := chromedp.Run(tab,
		chromedp.Navigate(page.URL),
		chromedp.SetValue("#server", wire.url, chromedp.ByQuery),
		chromedp.SetValue("#goal", "Tell alice@example.com that order A-1002 is delayed. Show me the mail before it goes out.", chromedp.ByQuery),
		chromedp.Click("#go", chromedp.ByQuery),
		chromedp.WaitVisible("form.question", chromedp.ByQuery),
		chromedp.Text("#status", &status, chromedp.ByQuery),
		chromedp.Evaluate(`document.querySelectorAll("li.waiting").length`, &waiting),
	)
	if err != nil {
		t.Fatalf("until the question: %v", err)
	}
	if !strings.HasPrefix(status, "waiting for you") || waiting != 1 {
		t.Errorf("status %q with %d waiting steps, want one that waits for the user", status, waiting)
	}

	before := wire.accepted()
	wire.cut()
	err = chromedp.Run(tab,
		chromedp.PollFunction(`() => source.readyState === EventSource.OPEN && opened > 1`, nil, chromedp.WithPollingTimeout(browsertest.Patience)),
		chromedp.Click(`//form[@class="question"]/button[text()="Send it"]`, chromedp.BySearch),
		chromedp.PollFunction(`() => document.querySelector("#status").textContent.startsWith("completed")`, nil, chromedp.WithPollingTimeout(browsertest.Patience)),
		chromedp.Text("#steps", &steps, chromedp.ByQuery),
		chromedp.Evaluate(`document.querySelectorAll("li.done").length`, &finished),
		chromedp.Evaluate(`document.querySelectorAll("li").length - document.querySelectorAll("li.done").length`, &failed),
		chromedp.Click("#show", chromedp.ByQuery),
		chromedp.WaitVisible("#transcript", chromedp.ByQuery),
		chromedp.Text("#transcript", &transcript, chromedp.ByQuery),
		chromedp.Text("#problem", &problem, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatalf("after the connection broke: %v", err)
	}
	if wire.accepted() == before {
		t.Error("the page never connected again")
	}
	if finished != 2 || failed != 0 || strings.Count(steps, "confirm_choice") != 1 || !strings.Contains(steps, "send_email") {
		t.Errorf("%d finished and %d other steps:\n%s", finished, failed, steps)
	}
	if !strings.Contains(transcript, `"status": "completed"`) || !strings.Contains(transcript, `"action_name": "send_email"`) {
		t.Errorf("transcript:\n%.2000s", transcript)
	}
	if problem != "" {
		t.Errorf("the page shows a problem: %s", problem)
	}
}

// A mistake shows as the server's own words, and the page stays usable.
func TestPageShowsErrors(t *testing.T) {
	t.Parallel()
	tab := browsertest.New(t)
	page := httptest.NewServer(http.FileServer(http.Dir(".")))
	t.Cleanup(page.Close)
	server := startDemo(t, page.URL)
	var problem string
	err := chromedp.Run(tab,
		chromedp.Navigate(page.URL),
		chromedp.SetValue("#server", server, chromedp.ByQuery),
		chromedp.SetValue("#observation", `{"weather": "<b>fine</b>"}`, chromedp.ByQuery),
		chromedp.Click("#go", chromedp.ByQuery),
		chromedp.PollFunction(`() => document.querySelector("#problem").textContent !== ""`, nil, chromedp.WithPollingTimeout(browsertest.Patience)),
		chromedp.Text("#problem", &problem, chromedp.ByQuery),
	)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(problem, "/observation/weather") {
		t.Errorf("problem = %q, want the member that is wrong", problem)
	}
}

// binDir holds the command while the tests run.
var binDir string

func TestMain(m *testing.M) {
	var err error
	if binDir, err = os.MkdirTemp("", "oap-web"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(binDir)
	os.Exit(code)
}

var build = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(binDir, "oap")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/oap").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return bin, nil
})

// startDemo runs "oap demo approval --keep" and returns the server's address.
func startDemo(t *testing.T, origin string) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, bin, "demo", "approval", "--keep", "--no-wait", "--port", port, "--allow-origin", origin)
	cmd.Env = append(cmd.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	lines := bufio.NewScanner(out)
	up := false
	for !up && lines.Scan() {
		fmt.Fprintln(&text, lines.Text())
		up = strings.HasPrefix(lines.Text(), "Answer from another terminal")
	}
	if !up {
		stop()
		_ = cmd.Wait()
		t.Fatalf("the demo did not come up:\n%s", &text)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() {
		stop()
		<-drained
		_ = cmd.Wait()
	})
	return "http://127.0.0.1:" + port
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// A wire carries connections to a server and can be cut.
type wire struct {
	url string

	mu    sync.Mutex // guards what follows
	conns []net.Conn
	n     int
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{url: "http://" + l.Addr().String()}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", strings.TrimPrefix(target, "http://"))
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			w.conns, w.n = append(w.conns, in, out), w.n+1
			w.mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				carrying.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
					pair[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		w.cut()
		carrying.Wait()
	})
	return w
}

// cut breaks every connection there is; new ones are carried as before.
func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
}

func (w *wire) accepted() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}
