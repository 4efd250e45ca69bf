package guard_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/guard"
)

// counts is a store that adds up.
type counts struct {
	mu      sync.Mutex
	err     error
	process uuid.UUID
	pings   map[string]int64
	calls   int
}

func (c *counts) AddGuardPings(_ context.Context, process uuid.UUID, pings map[time.Time]int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.err != nil {
		return c.err
	}
	c.process = process
	for at, n := range pings {
		c.pings[at.Format("15:04:05")] += n
	}
	return nil
}

func (c *counts) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var l []string
	for at, n := range c.pings {
		l = append(l, fmt.Sprintf("%s %d", at, n))
	}
	slices.Sort(l)
	return l
}

func (c *counts) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// appender is a log that takes everything, or nothing.
type appender struct{ err error }

func (a *appender) Append(context.Context, int, []byte) (time.Time, error) { return time.Now(), a.err }

func (a *appender) AppendAll(context.Context, int, [][]byte) (time.Time, error) {
	return time.Now(), a.err
}

func meter(t *testing.T, c *counts) (guard.Appender, *appender, func()) {
	t.Helper()
	m := guard.NewMeter(c, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	log := &appender{}
	return m.Wrap(log), log, func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func ping(t *testing.T, a guard.Appender, single, batch int) {
	t.Helper()
	for range single {
		if _, err := a.Append(t.Context(), 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.AppendAll(t.Context(), 0, make([][]byte, batch)); err != nil {
		t.Fatal(err)
	}
}

func TestAcceptedPingsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counts{pings: map[string]int64{}}
		a, log, stop := meter(t, c)
		ping(t, a, 3, 4)
		time.Sleep(time.Minute)
		log.err = errors.New("the log is full")
		if _, err := a.Append(t.Context(), 0, nil); err == nil {
			t.Error("an error is lost")
		}
		if _, err := a.AppendAll(t.Context(), 0, make([][]byte, 7)); err == nil {
			t.Error("an error is lost")
		}
		log.err = nil
		time.Sleep(time.Minute)
		ping(t, a, 1, 1)
		stop() // what was counted last is written down, too
		if d := cmp.Diff([]string{"00:00:00 7", "00:01:00 0", "00:02:00 2"}, c.list()); d != "" {
			t.Error(d)
		}
		if c.process == uuid.Nil {
			t.Error("a process without a name")
		}
	})
}

func TestCountsOutliveTheDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counts{pings: map[string]int64{}}
		a, _, stop := meter(t, c)
		ping(t, a, 1, 0)
		synctest.Wait()
		c.fail(errors.New("it is away"))
		for range 5 {
			time.Sleep(time.Minute)
			ping(t, a, 2, 0)
		}
		c.fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		want := []string{"00:00:00 1", "00:01:00 2", "00:02:00 2", "00:03:00 2", "00:04:00 2", "00:05:00 2"}
		if d := cmp.Diff(want, c.list()); d != "" {
			t.Error(d)
		}
		c.fail(errors.New("it is away"))
		ping(t, a, 1, 0) // forgotten
		time.Sleep(25 * time.Hour)
		c.fail(nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := c.list(); len(got) != 24*60 || got[5] != "00:05:00 2" {
			t.Errorf("after a long time %d minutes are there, and %s", len(got), got[5])
		}
		c.fail(errors.New("it is away"))
		stop() // and that is no failure of ours
	})
}

func TestManyCountAtOnce(t *testing.T) {
	c := &counts{pings: map[string]int64{}}
	a, _, stop := meter(t, c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				if _, err := a.Append(t.Context(), 0, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	stop()
	sum := int64(0)
	for _, n := range c.pings {
		sum += n
	}
	if sum != 8000 {
		t.Errorf("%d counted", sum)
	}
}
