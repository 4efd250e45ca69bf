package pg

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	lockCheckEvery   = 2 * time.Second
	lockCheckTimeout = 3 * time.Second // with lockCheckEvery the longest until a dead connection is noticed here
	lockRetryFirst   = 100 * time.Millisecond
	lockRetryMost    = 2 * time.Second
)

// lockSettings make the server notice within 15 seconds that this machine is gone, and free its locks: later than the machine itself,
// which gives up after 5, so that no two believe to hold one lock. They do nothing on a Unix socket; one that the server does not
// know is left out.
func lockSettings() []string {
	return []string{
		"set tcp_keepalives_idle = 5", "set tcp_keepalives_interval = 2", "set tcp_keepalives_count = 3",
		"set tcp_user_timeout = '11s'", "set client_connection_check_interval = '2s'", "set idle_session_timeout = 0",
		"set application_name = 'tokiflow locks'",
	}
}

var errNoSession = errors.New("the connection that holds locks is down at the moment")

// Locks holds session advisory locks of the database, many on one connection of its own. When that connection is lost so are all of
// its locks, and another is made. Safe for concurrent use.
type Locks struct {
	pool   *pgxpool.Pool
	log    *slog.Logger
	asked  chan lockRequest
	cancel context.CancelFunc
	ended  chan struct{}

	held map[int64]struct{} // locks of the connection there is; of run's goroutine alone

	mu       sync.Mutex
	lost     chan struct{}      // of the connection there is; nil: none
	unwanted map[int64]struct{} // to be freed as soon as there is time for it
}

type lockRequest struct {
	do   func(ctx context.Context, conn *pgx.Conn) error
	done chan error
}

// NewLocks makes Locks, which connect in the background. Close ends them.
func NewLocks(pool *pgxpool.Pool, log *slog.Logger) *Locks {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Locks{pool: pool, log: log, asked: make(chan lockRequest), cancel: cancel, ended: make(chan struct{})}
	go l.run(ctx)
	return l
}

// Close frees all locks and ends the connection. Whatever they guard must have ended before.
func (l *Locks) Close() {
	l.cancel()
	<-l.ended
}

// TryLock takes those of the locks that are free and returns their keys. The channel is closed when they are lost, which is at once
// when the server ends the connection and 5 seconds after it has fallen silent at most. A lock that these Locks hold already, as after an
// Unlock that was not heard, is taken and counts once. An error says that none was taken.
func (l *Locks) TryLock(ctx context.Context, keys ...int64) (taken []int64, lost <-chan struct{}, err error) {
	if len(keys) == 0 {
		return nil, nil, nil
	}
	err = l.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		var free []int64
		for _, key := range keys {
			l.wanted(key)
			if _, ours := l.held[key]; ours { // the server would count it twice, and one Unlock not free it
				taken = append(taken, key)
			} else {
				free = append(free, key)
			}
		}
		lost = l.session()
		if len(free) == 0 {
			return nil
		}
		rows, err := conn.Query(ctx, `select k from unnest($1::bigint[]) as k where pg_try_advisory_lock(k)`, free)
		if err != nil {
			return err
		}
		more, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			if !conn.IsClosed() {
				giveBack(ctx, conn, free)
			}
			return err
		}
		for _, key := range more {
			l.held[key] = struct{}{}
		}
		taken = append(taken, more...)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return taken, lost, nil
}

func (l *Locks) wanted(key int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unwanted, key)
}

// giveBack frees what a statement has taken that failed half way, as one does that finds the table of locks full: what is taken for a
// session is not rolled back.
func giveBack(ctx context.Context, conn *pgx.Conn, keys []int64) {
	if _, err := conn.Exec(ctx, `select pg_advisory_unlock(k) from unnest($1::bigint[]) as k`, keys); err != nil {
		closeLocks(conn) //nolint:contextcheck // ctx may have ended: then the locks go with the connection
	}
}

// Unlock frees a lock. One that was lost, or is not held, is no error. Where ctx ends before it is done it is done later, unless the lock
// is taken again first. Where the server does not free it the connection is ended, and every lock with it: nobody else could take it.
func (l *Locks) Unlock(ctx context.Context, key int64) error {
	err := l.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error { return l.free(ctx, conn, key) })
	if errors.Is(err, errNoSession) {
		return nil
	}
	if err != nil && ctx.Err() != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.lost != nil {
			l.unwanted[key] = struct{}{}
		}
	}
	return err
}

// free frees a lock that is held.
func (l *Locks) free(ctx context.Context, conn *pgx.Conn, key int64) error {
	if _, ours := l.held[key]; !ours {
		return nil
	}
	if _, err := conn.Exec(ctx, `select pg_advisory_unlock($1)`, key); err != nil {
		closeLocks(conn) //nolint:contextcheck // ctx may have ended: then the locks go with the connection
		return err
	}
	delete(l.held, key)
	return nil
}

// freeUnwanted frees what nobody could wait for.
func (l *Locks) freeUnwanted(ctx context.Context, conn *pgx.Conn) error {
	l.mu.Lock()
	keys := slices.Collect(maps.Keys(l.unwanted))
	clear(l.unwanted)
	l.mu.Unlock()
	for _, key := range keys {
		if err := l.serve(ctx, conn, lockRequest{
			do: func(ctx context.Context, conn *pgx.Conn) error { return l.free(ctx, conn, key) }, done: make(chan error, 1),
		}); err != nil {
			return err
		}
	}
	return nil
}

// ask has f run by whoever holds the connection. Once begun it is not cut short by ctx: that would end the connection, and every lock
// with it.
func (l *Locks) ask(ctx context.Context, f func(ctx context.Context, conn *pgx.Conn) error) error {
	r := lockRequest{do: f, done: make(chan error, 1)}
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	if lost == nil {
		return errNoSession
	}
	select {
	case l.asked <- r:
		return <-r.done
	case <-lost:
		return errNoSession
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Locks) session() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// run keeps a connection until ctx ends.
func (l *Locks) run(ctx context.Context) {
	defer close(l.ended)
	wait := lockRetryFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := l.hold(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > lockCheckEvery {
			wait = lockRetryFirst
		}
		if wait == lockRetryFirst {
			l.log.WarnContext(ctx, "the connection that holds locks is lost or cannot be made, trying again", "error", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		wait = min(2*wait, lockRetryMost)
	}
}

// hold connects and serves requests until the connection is lost or ctx ends.
func (l *Locks) hold(ctx context.Context) error {
	pooled, err := l.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	conn := pooled.Hijack() // it holds locks, so it never goes back
	defer closeLocks(conn)  //nolint:contextcheck // ctx may have ended: that is why it is closed
	for _, set := range lockSettings() {
		if _, err := conn.Exec(ctx, set); err != nil && conn.IsClosed() {
			return err
		}
	}
	lost := make(chan struct{})
	l.held = map[int64]struct{}{}
	l.setSession(lost)
	defer func() {
		l.setSession(nil)
		close(lost) // before the farewell: nobody relies on these locks from here on
	}()
	for {
		request, err := l.next(ctx, conn)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case request != nil:
			err = l.serve(ctx, conn, *request)
		case err == nil:
			err = l.serve(ctx, conn, lockRequest{
				do: func(ctx context.Context, conn *pgx.Conn) error { return conn.Ping(ctx) }, done: make(chan error, 1),
			})
		}
		if err == nil {
			err = l.freeUnwanted(ctx, conn)
		}
		if err != nil {
			return err
		}
	}
}

func (l *Locks) setSession(lost chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost, l.unwanted = lost, map[int64]struct{}{}
}

// next waits for a request, for the time of the next check (nil and no error) or for the end of the connection, which is noticed because
// somebody always reads from it.
func (l *Locks) next(ctx context.Context, conn *pgx.Conn) (*lockRequest, error) {
	select {
	case r := <-l.asked:
		return &r, nil
	default:
	}
	wait, stop := context.WithTimeout(ctx, lockCheckEvery)
	defer stop()
	var got *lockRequest
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case r := <-l.asked:
			got = &r
			stop()
		case <-wait.Done():
		}
	}()
	_, err := conn.WaitForNotification(wait)
	stop()
	<-done
	if conn.IsClosed() {
		if got != nil {
			got.done <- errNoSession
		}
		return nil, err
	}
	return got, nil
}

// serve answers a request. The error is that of a connection that can no longer be relied upon.
func (l *Locks) serve(ctx context.Context, conn *pgx.Conn, r lockRequest) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockCheckTimeout)
	defer cancel()
	err := r.do(ctx, conn)
	r.done <- err
	if conn.IsClosed() {
		return errors.Join(errNoSession, err)
	}
	return nil
}

func closeLocks(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // it is of no further use either way
}
