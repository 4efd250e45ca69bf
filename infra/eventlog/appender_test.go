package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
	"github.com/tokiflow/tokiflow/infra/eventlog/memlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slowLog is a log in memory whose appends take a time, fail, or hang, as the test says.
type slowLog struct {
	*memlog.Log
	mu      sync.Mutex
	takes   time.Duration
	ghost   bool // an append that fails is in the log all the same
	fail    func(attempt int) error
	hang    chan struct{} // appends wait for it to close, whatever their ctx says
	attempt int
	sizes   []int
}

func newSlowLog() *slowLog { return &slowLog{Log: memlog.New(1, nil)} }

func (l *slowLog) set(change func(l *slowLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *slowLog) AppendBatch(ctx context.Context, partition int, values [][]byte) (int64, error) {
	l.mu.Lock()
	l.attempt++
	l.sizes = append(l.sizes, len(values))
	takes, hang, ghost := l.takes, l.hang, l.ghost
	var err error
	if l.fail != nil {
		err = l.fail(l.attempt)
	}
	l.mu.Unlock()
	if hang != nil {
		<-hang
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if err != nil && !ghost {
		return 0, err
	}
	first, appendErr := l.Log.AppendBatch(context.Background(), partition, values)
	return first, errors.Join(err, appendErr)
}

// content returns the records of the log.
func content(t *testing.T, l eventlog.Log) [][]byte {
	t.Helper()
	end, err := l.End(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{want: int(end), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Consume(ctx, "content", c) }()
	if end > 0 {
		<-c.done
	}
	cancel()
	<-ended //nolint:errcheck // only its end counts
	return c.recs
}

type collector struct {
	want int
	recs [][]byte
	done chan struct{}
}

func (c *collector) Assigned(context.Context, int) (int64, error) { return 0, nil }
func (c *collector) Revoked(int)                                  {}
func (c *collector) Batch(_ context.Context, _ int, recs []record.Entry, _ bool) error {
	for _, e := range recs {
		c.recs = append(c.recs, append([]byte(nil), e.Value...))
	}
	if len(recs) > 0 && len(c.recs) == c.want {
		close(c.done)
	}
	return nil
}

func mustParse(t *testing.T, rec []byte) record.Header {
	t.Helper()
	h, err := record.ParseHeader(rec)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// markers returns the markers of the log.
func markers(t *testing.T, l eventlog.Log) []record.Marker {
	t.Helper()
	var ms []record.Marker
	for _, rec := range content(t, l) {
		if mustParse(t, rec).Type == record.TypeMarker {
			m, err := record.ParseMarker(rec)
			if err != nil {
				t.Fatal(err)
			}
			ms = append(ms, m)
		}
	}
	return ms
}

// seconds is how long after start a time is.
func seconds(start, at time.Time) float64 { return at.Sub(start).Seconds() }

func TestAppenderGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		l.takes = 10 * time.Millisecond
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{})
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 100 {
			wg.Go(func() {
				if _, err := a.Append(t.Context(), 0, logtest.Ping(uint64(i+1))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// The first may go alone; all that came meanwhile goes together, without waiting for more.
		if n := len(l.sizes); n > 2 {
			t.Errorf("100 appends at once took %d writes: %v", n, l.sizes)
		}
		if d := time.Since(start); d > 20*time.Millisecond {
			t.Errorf("it took %v", d)
		}
	})
}

func TestAppenderBatchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		l.takes = 10 * time.Millisecond
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{MaxBatch: 10})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				recs := [][]byte{logtest.Ping(uint64(i)), logtest.Ping(0), logtest.Ping(0), logtest.Ping(0)}
				if _, err := a.AppendAll(t.Context(), 0, recs); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, n := range l.sizes {
			if n > 10 || n%4 != 0 {
				t.Errorf("an AppendAll was cut, or a batch is too large: %v", l.sizes)
				break
			}
		}
		l.sizes = nil
		large := make([][]byte, 25)
		for i := range large {
			large[i] = logtest.Ping(uint64(i))
		}
		if _, err := a.AppendAll(t.Context(), 0, large); err != nil || len(l.sizes) != 1 {
			t.Errorf("an AppendAll larger than a batch: %v, writes %v", err, l.sizes)
		}
		if _, err := a.AppendAll(t.Context(), 0, nil); err != nil || len(l.sizes) != 1 {
			t.Errorf("an AppendAll of nothing: %v", err)
		}
	})
}

func TestAppenderStampsNeverGoBack(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 1999, time.UTC)
	clock := start
	l := newSlowLog()
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{ID: 77, Clock: func() time.Time { return clock }})
	var last time.Time
	for i, step := range []time.Duration{0, time.Second, -time.Hour, time.Minute, 2 * time.Hour} {
		clock = clock.Add(step)
		at, err := a.Append(t.Context(), 0, logtest.Ping(uint64(i)))
		if err != nil {
			t.Fatal(err)
		}
		if at.Before(last) || at.Location() != time.UTC || at.Nanosecond()%1000 != 0 {
			t.Errorf("append %d is stamped %v after %v", i, at, last)
		}
		last = at
	}
	if want := start.Add(time.Hour + time.Minute + time.Second).Truncate(time.Microsecond); !last.Equal(want) {
		t.Errorf("the last stamp is %v instead of %v", last, want)
	}
	for i, rec := range content(t, l) {
		if h := mustParse(t, rec); h.Appender != 77 || h.Seq != uint64(i+1) {
			t.Errorf("record %d: %+v", i, h)
		}
	}
}

func TestAppenderRetriesWithTheSameStamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		l.ghost = true // the write arrives, its answer does not
		l.fail = func(attempt int) error {
			if attempt <= 3 {
				return errors.New("connection reset")
			}
			return nil
		}
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{})
		at, err := a.AppendAll(t.Context(), 0, [][]byte{logtest.Ping(1), logtest.Ping(2)})
		if err != nil {
			t.Fatal(err)
		}
		recs := content(t, l)
		if len(recs) != 8 {
			t.Fatalf("%d records", len(recs))
		}
		for i, rec := range recs {
			h := mustParse(t, rec)
			if h.Seq != uint64(i%2+1) || !h.At.Equal(at) {
				t.Errorf("record %d: %+v", i, h)
			}
		}
		if err := a.Healthy(); err != nil {
			t.Errorf("Healthy: %v", err)
		}
	})
}

func TestAppenderGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		broken := errors.New("disk on fire")
		l.fail = func(int) error { return broken }
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{AppendTimeout: 5 * time.Second})
		start := time.Now()
		_, err := a.Append(t.Context(), 0, logtest.Ping(1))
		if !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, broken) {
			t.Errorf("Append: %v", err)
		}
		if d := time.Since(start); d < 5*time.Second || d > 6*time.Second {
			t.Errorf("it gave up after %v", d)
		}
		if err := a.Healthy(); !errors.Is(err, broken) {
			t.Errorf("Healthy: %v", err)
		}
		l.set(func(l *slowLog) { l.fail = nil })
		if _, err := a.Append(t.Context(), 0, logtest.Ping(2)); err != nil {
			t.Errorf("the next Append: %v", err)
		}
		if err := a.Healthy(); err != nil {
			t.Errorf("Healthy again: %v", err)
		}
		if recs := content(t, l); len(recs) != 1 || logtest.Number(recs[0]) != 2 {
			t.Errorf("%d records", len(recs))
		}
	})
}

// A write that hangs must not keep its callers beyond the timeout, nor those behind it, and what waited too long is
// never sent.
func TestAppenderHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		release := make(chan struct{})
		l.hang = release
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{AppendTimeout: 5 * time.Second})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 4 { // at 0, 2, 4 and 6 s
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 2 * time.Second)
				began := time.Now()
				_, err := a.Append(t.Context(), 0, logtest.Ping(uint64(i+1)))
				took := time.Since(began)
				if i < 2 && (!errors.Is(err, eventlog.ErrUnavailable) || took != 5*time.Second) || i >= 2 && err != nil {
					t.Errorf("append %d: %v after %v", i+1, err, took)
				}
			})
		}
		time.Sleep(8 * time.Second)
		l.set(func(l *slowLog) { l.hang = nil })
		close(release)
		wg.Wait()
		if d := seconds(start, time.Now()); d > 9 {
			t.Errorf("the last was answered after %v s", d)
		}
		var numbers []uint64
		for _, rec := range content(t, l) {
			numbers = append(numbers, logtest.Number(rec))
		}
		// The first was on its way when it was given up; the second was refused unsent.
		if got := fmt.Sprint(numbers); got != "[1 3 4]" && got != "[3 4]" {
			t.Errorf("in the log: %v", got)
		}
	})
}

func TestAppenderQueueIsBounded(t *testing.T) {
	for name, o := range map[string]eventlog.AppenderOptions{
		"records": {MaxQueue: 10},
		"bytes":   {MaxQueueBytes: 10 * len(logtest.Ping(1))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newSlowLog()
				release := make(chan struct{})
				l.hang = release
				a := eventlog.NewAppender(l, o)
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = a.Append(t.Context(), 0, logtest.Ping(1)) })
				synctest.Wait() // it is on its way
				for i := range 10 {
					wg.Go(func() {
						if _, err := a.Append(t.Context(), 0, logtest.Ping(uint64(i+2))); err != nil {
							t.Errorf("within the bound: %v", err)
						}
					})
				}
				synctest.Wait()
				start := time.Now()
				if _, err := a.Append(t.Context(), 0, logtest.Ping(99)); !errors.Is(err, eventlog.ErrUnavailable) || time.Since(start) > 0 {
					t.Errorf("over the bound: %v after %v", err, time.Since(start))
				}
				close(release)
				wg.Wait()
				if n := len(content(t, l)); n != 11 {
					t.Errorf("%d records", n)
				}
			})
		})
	}
}

func TestAppenderEndedContext(t *testing.T) {
	l := newSlowLog()
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Append(ctx, 0, logtest.Ping(1)); !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("Append: %v", err)
	}
	if _, err := a.AppendAll(ctx, 0, [][]byte{logtest.Ping(1)}); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("AppendAll: %v", err)
	}
	if len(l.sizes) != 0 {
		t.Error("something was written")
	}
}

func TestAppenderObserve(t *testing.T) {
	l := newSlowLog()
	records, failures := 0, 0
	l.fail = func(attempt int) error {
		if attempt == 1 {
			return errors.New("once")
		}
		return nil
	}
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{Observe: func(n int, _ time.Duration, err error) {
		if err != nil {
			failures++
		} else {
			records += n
		}
	}})
	for i := range 3 {
		if _, err := a.Append(t.Context(), 0, logtest.Ping(uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	if records != 3 || failures != 1 {
		t.Errorf("observed %d records and %d failures", records, failures)
	}
}
