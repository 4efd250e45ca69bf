package pg_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

func newLocks(t *testing.T, pool *pgxpool.Pool) *pg.Locks {
	t.Helper()
	l := pg.NewLocks(pool, slog.New(slog.DiscardHandler))
	t.Cleanup(l.Close)
	return l
}

// take asks until the connection is there.
func take(t *testing.T, l *pg.Locks, keys ...int64) ([]int64, <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		taken, lost, err := l.TryLock(ctx, keys...)
		if err == nil {
			slices.Sort(taken)
			return taken, lost
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func wantTaken(t *testing.T, l *pg.Locks, keys []int64, want ...int64) <-chan struct{} {
	t.Helper()
	got, lost := take(t, l, keys...)
	if diff := cmp.Diff(append([]int64{}, want...), append([]int64{}, got...)); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
	return lost
}

// wantWithin waits for a channel to be closed.
func wantWithin(t *testing.T, d time.Duration, closed <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-closed:
	case <-time.After(d):
		t.Fatalf("%s: not after %v", what, d)
	}
}

func terminate(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var n int
	if err := pool.QueryRow(t.Context(), `select count(pg_terminate_backend(pid)) from pg_stat_activity
		where application_name = 'tokiflow locks' and datname = current_database()`).Scan(&n); err != nil || n == 0 {
		t.Fatalf("%d connections ended, %v", n, err)
	}
}

func TestALockHasOneHolder(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	a, b := newLocks(t, pool), newLocks(t, pool)
	lost := wantTaken(t, a, []int64{1, 2, -3}, -3, 1, 2)
	wantTaken(t, b, []int64{1, 2, 4, -3}, 4)
	if err := a.Unlock(t.Context(), 2); err != nil {
		t.Error(err)
	}
	wantTaken(t, b, []int64{1, 2}, 2)
	wantTaken(t, b, nil)
	if err := a.Unlock(t.Context(), 99); err != nil {
		t.Errorf("a lock that is not held: %v", err)
	}
	a.Close()
	wantWithin(t, 10*time.Second, lost, "its end is told")
	for {
		if got, _ := take(t, b, -3, 1); len(got) == 2 {
			break
		} else {
			for _, k := range got {
				_ = b.Unlock(t.Context(), k)
			}
		}
	}
	if _, _, err := a.TryLock(t.Context(), 5); err == nil {
		t.Error("closed, and it locks")
	}
	if err := a.Unlock(t.Context(), 5); err != nil {
		t.Errorf("closed: %v", err)
	}
}

// A caller that gives up does not take the others' locks with it.
func TestACallerThatGivesUp(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newLocks(t, pool)
	lost := wantTaken(t, l, []int64{1}, 1)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel)
			_, _, err := l.TryLock(ctx, int64(1000+i))
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	select {
	case <-lost:
		t.Error("the locks were lost")
	default:
	}
	wantTaken(t, newLocks(t, pool), []int64{1})
}

// A lock whose Unlock came to nothing is taken again as it is, and counts once.
func TestALockThatIsHeldAlreadyCountsOnce(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	a, b := newLocks(t, pool), newLocks(t, pool)
	wantTaken(t, a, []int64{1, 2}, 1, 2)
	wantTaken(t, a, []int64{2, 1, 3}, 1, 2, 3)
	wantTaken(t, a, []int64{1}, 1)
	for _, key := range []int64{1, 2, 1} {
		if err := a.Unlock(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
	wantTaken(t, b, []int64{1, 2, 3}, 1, 2)
	wantTaken(t, a, []int64{1, 2, 3}, 3)
}

// An Unlock that nobody could wait for is done later, unless the lock is wanted again before that.
func TestAnUnlockThatTimesOutIsDoneLater(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	a, b := newLocks(t, pool), newLocks(t, pool)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		lost := wantTaken(t, a, []int64{1}, 1)
		if err := a.Unlock(ended, 1); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		wantTaken(t, a, []int64{1}, 1) // wanted again
		if err := a.Unlock(ended, 1); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		end := time.Now().Add(30 * time.Second)
		for {
			if got, _ := take(t, b, 1); len(got) == 1 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the lock is never freed")
			}
			time.Sleep(5 * time.Millisecond)
		}
		if err := b.Unlock(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		select {
		case <-lost:
			t.Fatal("the connection was ended for it")
		default:
		}
	}
}

// The server ends the connection: that is noticed at once, another takes over, and the first comes back.
func TestTheConnectionIsEnded(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	a := newLocks(t, pool)
	lost := wantTaken(t, a, []int64{1, 2}, 1, 2)
	began := time.Now()
	terminate(t, pool)
	wantWithin(t, 10*time.Second, lost, "the loss is told")
	t.Logf("told after %v", time.Since(began))
	b := newLocks(t, pool)
	wantTaken(t, b, []int64{1, 2}, 1, 2)
	lost = wantTaken(t, a, []int64{1, 2, 3}, 3)
	select {
	case <-lost:
		t.Error("the new lock is lost")
	default:
	}
	if err := a.Unlock(t.Context(), 1); err != nil {
		t.Errorf("a lock that was lost: %v", err)
	}
	wantTaken(t, newLocks(t, pool), []int64{1}) // it is still b's
}

// The server falls silent: nothing is refused, nothing answered.
func TestTheServerFallsSilent(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t)
	u, err := url.Parse(server.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	line := newLine(t, filepath.Join(u.Query().Get("host"), ".s.PGSQL.5432"))
	u.RawQuery = url.Values{"host": {filepath.Dir(line.path)}}.Encode()
	pool, err := pg.Open(t.Context(), u.String(), pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	l := newLocks(t, pool)
	lost := wantTaken(t, l, []int64{1}, 1)
	began := time.Now()
	line.cut()
	wantWithin(t, 15*time.Second, lost, "the silence is noticed")
	t.Logf("noticed after %v", time.Since(began))
}

// line carries bytes between a Unix socket and another until it is cut.
type line struct {
	path string
	mu   sync.Mutex
	dead bool
	all  []net.Conn
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l := &line{path: filepath.Join(t.TempDir(), ".s.PGSQL.5432")}
	listener, err := net.Listen("unix", l.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = listener.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range l.all {
			_ = c.Close()
		}
	})
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", to)
			if err != nil {
				return
			}
			l.mu.Lock()
			l.all = append(l.all, near, far)
			l.mu.Unlock()
			go l.carry(near, far)
			go l.carry(far, near)
		}
	}()
	return l
}

func (l *line) carry(from, to net.Conn) {
	_, _ = io.Copy(writer(func(p []byte) (int, error) {
		l.mu.Lock()
		dead := l.dead
		l.mu.Unlock()
		if dead {
			return len(p), nil
		}
		return to.Write(p)
	}), from)
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// Not parallel: others' goroutines would be counted.
func TestLocksLeaveNothingBehind(t *testing.T) {
	pool := pgtest.New(t)
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	l := pg.NewLocks(pool, slog.New(slog.DiscardHandler))
	lost := wantTaken(t, l, []int64{1}, 1)
	terminate(t, pool)
	wantWithin(t, 10*time.Second, lost, "the loss is told")
	wantTaken(t, l, []int64{1}, 1)
	l.Close()
	l.Close()
	goleak.VerifyNone(t, before)
}
