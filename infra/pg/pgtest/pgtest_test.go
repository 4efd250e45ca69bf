//go:build unix

package pgtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/infra/pg/embedded"
)

// childMode makes a copy of the test program start a cluster and wait to be killed.
const childMode = "TOKIFLOW_TEST_PGTEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childMode) != "" {
		bin, err := embedded.FindBinaries(context.Background(), "")
		var c *Cluster
		if err == nil {
			c, err = newCluster(bin, nil)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(c.dir)
		time.Sleep(time.Hour)
	}
	os.Exit(m.Run())
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	t.Parallel()
	a, b := New(t), New(t)
	if _, err := a.Exec(t.Context(), `insert into organisations (id, name) values (gen_random_uuid(), 'a')`); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := b.QueryRow(t.Context(), `select count(*) from organisations`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d organisations, %v; want none", n, err)
	}
	conn, err := pgx.Connect(t.Context(), NewURL(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if err := conn.QueryRow(t.Context(), `select count(*) from monitors`).Scan(&n); err != nil {
		t.Error(err)
	}
}

func TestServerIsKilledAndStarted(t *testing.T) {
	t.Parallel()
	c := Server(t)
	exec := func(sql string) error {
		conn, err := pgx.Connect(t.Context(), c.URL("postgres"))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(t.Context()) }()
		_, err = conn.Exec(t.Context(), sql)
		return err
	}
	if err := exec(`create table kept (n int)`); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(){c.Kill, c.Stop} {
		end()
		if err := exec(`select 1`); err == nil {
			t.Error("it answers after its end")
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if err := exec(`insert into kept values (1)`); err != nil {
			t.Error(err)
		}
	}
}

// A test process that is killed leaves neither server nor folder behind.
func TestClusterGoesWithTheProcess(t *testing.T) {
	t.Parallel()
	if _, err := embedded.FindBinaries(t.Context(), ""); err != nil {
		t.Skipf("SKIPPED, NOT RUN: %v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childMode+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	dir := strings.TrimSpace(line)
	if err != nil || !strings.Contains(dir, "tokiflow-pgtest-") {
		t.Fatalf("the child says %q, %v", line, err)
	}
	for end := time.Now().Add(time.Minute); ; {
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is still there", dir)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
