//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const childEnv = "OAP_PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	dsn, err := start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(dsn)
	select {} // until killed
}

func TestDSNGivesSeparateDatabases(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	names := map[string]bool{}
	for range 2 {
		c, err := pgx.Connect(ctx, DSN(t))
		if err != nil {
			t.Fatal(err)
		}
		var name string
		if err := c.QueryRow(ctx, "SELECT current_database()").Scan(&name); err != nil {
			t.Fatal(err)
		}
		names[name] = true
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if len(names) != 2 {
		t.Errorf("databases = %v, want two", names)
	}
}

func TestServerEndsWithAKilledProcess(t *testing.T) {
	t.Parallel()
	DSN(t) // decides whether there is a server to start
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"=1", "OAP_TEST_POSTGRES=")
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	line := bufio.NewScanner(out)
	if !line.Scan() {
		c.Wait()
		t.Fatal("the child did not start a server")
	}
	u, err := url.Parse(line.Text())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), line.Text())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for { // the server ends our connection when it stops
		if _, err := conn.Exec(ctx, "SELECT pg_sleep(10)"); err != nil {
			break
		}
	}
	dir := u.Query().Get("host")
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s is still there", dir)
		}
	}
}
