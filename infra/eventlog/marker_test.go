package eventlog_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
)

// run runs an Appender until the returned function is called, which returns Run's error.
func run(t *testing.T, a *eventlog.Appender) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

// claim is a marker in seconds since the start: what it covers.
type claim struct {
	since, at float64
	closing   bool
}

func claims(start time.Time, ms []record.Marker) []claim {
	var cs []claim
	for _, m := range ms {
		cs = append(cs, claim{seconds(start, m.Since), seconds(start, m.At), m.Closing})
	}
	return cs
}

func checkClaims(t *testing.T, start time.Time, got []record.Marker, want ...claim) {
	t.Helper()
	cs := claims(start, got)
	same := len(cs) == len(want)
	for i := 0; same && i < len(cs); i++ {
		same = cs[i] == want[i]
	}
	if !same {
		t.Errorf("markers (since, at, closing)\n got %v\nwant %v", cs, want)
	}
}

func TestMarkersEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{})
		start := time.Now()
		stop := run(t, a)
		time.Sleep(3500 * time.Millisecond)
		if err := stop(); err != nil {
			t.Error(err)
		}
		ms := markers(t, l)
		checkClaims(t, start, ms, claim{0, 0, false}, claim{0, 1, false}, claim{0, 2, false}, claim{0, 3, false}, claim{0, 3.5, true})
		for _, m := range ms {
			if !m.Exclusive {
				t.Error("the log is exclusive and the marker does not say so")
			}
		}
		if _, err := a.Append(t.Context(), 0, logtest.Ping(1)); !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, eventlog.ErrClosed) {
			t.Errorf("Append after the closing marker: %v", err)
		}
	})
}

// Markers and pings stand in the order of their times, so that a marker claims what was received before it.
func TestMarkersStandInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		l.takes = 30 * time.Millisecond
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{MarkerInterval: 100 * time.Millisecond})
		stop := run(t, a)
		for i := range 200 {
			if _, err := a.Append(t.Context(), 0, logtest.Ping(uint64(i+1))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(7 * time.Millisecond)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		var last record.Header
		for i, rec := range content(t, l) {
			h := mustParse(t, rec)
			if h.At.Before(last.At) || h.Seq != uint64(i+1) {
				t.Fatalf("record %d: %+v after %+v", i, h, last)
			}
			last = h
		}
		if last.Type != record.TypeMarker {
			t.Error("the last record is not the closing marker")
		}
	})
}

// While the log fails nothing can be received: the markers that follow claim nothing of that time.
func TestMarkersAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{AppendTimeout: 2 * time.Second})
		start := time.Now()
		stop := run(t, a)
		time.Sleep(1500 * time.Millisecond) // markers at 0 and 1
		l.set(func(l *slowLog) { l.fail = func(int) error { return errors.New("no") } })
		time.Sleep(6 * time.Second) // those from 2 on fail
		l.set(func(l *slowLog) { l.fail = nil })
		time.Sleep(3 * time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		// The last refusal was at 7; what came later waited for the log to work again.
		checkGap(t, start, markers(t, l), 2, 7)
	})
}

// checkGap checks that no marker covers any time between from and to, and that the markers resume within two seconds.
func checkGap(t *testing.T, start time.Time, ms []record.Marker, from, to float64) {
	t.Helper()
	after := 0
	for _, c := range claims(start, ms) {
		if c.since > c.at {
			t.Errorf("marker at %v says since %v", c.at, c.since)
		}
		if c.since < to && c.at > from && !(c.since == c.at && c.at <= to) {
			t.Errorf("the marker at %v claims the time since %v; nothing could be received from %v to %v", c.at, c.since, from, to)
		}
		if c.since >= to && c.since < to+2 && c.at > to {
			after++
		}
	}
	if after == 0 {
		t.Errorf("no marker claims the time after %v: %v", to, claims(start, ms))
	}
}

// A ping that was refused between two markers is a gap as well, even though every marker came through.
func TestMarkersAfterRefusedPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{MaxQueue: 1})
		start := time.Now()
		stop := run(t, a)
		time.Sleep(1100 * time.Millisecond)
		release := make(chan struct{})
		l.set(func(l *slowLog) { l.hang = release })
		for i := range 2 {
			go func() { _, _ = a.Append(context.Background(), 0, logtest.Ping(uint64(i+1))) }()
			synctest.Wait()
		}
		time.Sleep(300 * time.Millisecond) // at 1.4
		if _, err := a.Append(t.Context(), 0, logtest.Ping(9)); !errors.Is(err, eventlog.ErrUnavailable) {
			t.Fatalf("the queue is not full: %v", err)
		}
		l.set(func(l *slowLog) { l.hang = nil })
		close(release)
		time.Sleep(2 * time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		covered := false
		for _, c := range claims(start, markers(t, l)) {
			if c.since < 1.4 && c.at >= 1.4 {
				t.Errorf("the marker at %v claims the time since %v; a ping was refused at 1.4", c.at, c.since)
			}
			covered = covered || c.since <= 2.1 && c.at >= 3
		}
		if !covered {
			t.Errorf("nothing claims the time after the refusal: %v", claims(start, markers(t, l)))
		}
	})
}

// A process that stood still could receive nothing. The first record afterwards is a marker that says so.
func TestMarkersAfterFreeze(t *testing.T) {
	for name, pingFirst := range map[string]bool{"marker first": false, "ping first": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newSlowLog()
				var jump atomic.Int64 // the clock of a machine that slept runs on, its timers do not
				a := eventlog.NewAppender(l, eventlog.AppenderOptions{Clock: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }})
				start := time.Now()
				stop := run(t, a)
				time.Sleep(1500 * time.Millisecond)
				jump.Store(int64(10 * time.Second))
				if pingFirst {
					if _, err := a.Append(t.Context(), 0, logtest.Ping(1)); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(2 * time.Second)
				if err := stop(); err != nil {
					t.Error(err)
				}
				at := 12.0 // the third marker of the loop, 10 s late
				if pingFirst {
					at = 11.5
				}
				want := []claim{{0, 0, false}, {0, 1, false}}
				for _, x := range []float64{11.5, 12, 13} {
					if x >= at {
						want = append(want, claim{at, x, false})
					}
				}
				checkClaims(t, start, markers(t, l), append(want, claim{at, 13.5, true})...)
				if pingFirst {
					for i, rec := range content(t, l) {
						if logtest.Number(rec) == 1 && i != 3 {
							t.Errorf("the ping is record %d, not right behind the marker", i)
						}
					}
				}
			})
		})
	}
}

// A short pause is none.
func TestMarkersAfterHiccup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		var jump atomic.Int64
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{Clock: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) }})
		start := time.Now()
		stop := run(t, a)
		time.Sleep(1500 * time.Millisecond)
		jump.Store(int64(1900 * time.Millisecond))
		time.Sleep(time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		checkClaims(t, start, markers(t, l), claim{0, 0, false}, claim{0, 1, false}, claim{0, 3.9, false}, claim{0, 4.4, true})
	})
}

// A marker that was queued before a failure and sent after it must not claim what it could when it was queued.
func TestMarkerQueuedBeforeFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{AppendTimeout: 1500 * time.Millisecond})
		start := time.Now()
		stop := run(t, a)
		time.Sleep(1900 * time.Millisecond)
		release := make(chan struct{})
		l.set(func(l *slowLog) { l.hang = release })
		go func() { _, _ = a.Append(context.Background(), 0, logtest.Ping(1)) }() // from 1.9 on its way; refused at 3.4
		time.Sleep(1600 * time.Millisecond)                                       // the markers of 2 and 3 wait; that of 2 would expire at 3.5
		l.set(func(l *slowLog) { l.hang = nil })
		close(release)
		time.Sleep(2 * time.Second)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, c := range claims(start, markers(t, l)) {
			if c.since < 3.4 && c.at > 1.9 && c.since != c.at {
				t.Errorf("the marker at %v claims the time since %v; a ping was refused at 3.4", c.at, c.since)
			}
		}
	})
}

func TestCloseDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		l.takes = time.Second
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{})
		stop := run(t, a)
		errs := make(chan error, 5)
		for i := range 5 {
			go func() {
				_, err := a.Append(context.Background(), 0, logtest.Ping(uint64(i+1)))
				errs <- err
			}()
		}
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		for range 5 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		recs := content(t, l)
		m, err := record.ParseMarker(recs[len(recs)-1])
		if err != nil || !m.Closing {
			t.Errorf("the last record is %+v, %v", m, err)
		}
	})
}

func TestCloseOfABrokenLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newSlowLog()
		broken := errors.New("no")
		l.fail = func(int) error { return broken }
		a := eventlog.NewAppender(l, eventlog.AppenderOptions{})
		stop := run(t, a)
		time.Sleep(time.Second)
		start := time.Now()
		if err := stop(); !errors.Is(err, broken) {
			t.Errorf("Run: %v", err)
		}
		if d := time.Since(start); d > 6*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}
