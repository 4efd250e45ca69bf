package pushgateway

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// fakeStanding has nothing standing but a group that expires; it counts what Run asks.
type fakeStanding struct {
	expires time.Time
	looks   atomic.Int64
	claims  atomic.Int64
	ended   atomic.Int64 // when, ms
	err     atomic.Bool
}

func (f *fakeStanding) ClaimPushBeat(context.Context, time.Time, time.Duration) (bool, error) {
	f.claims.Add(1)
	return true, nil
}

func (f *fakeStanding) BeatPushGroups(context.Context, time.Time, *series.GroupCursor, int, func([]series.Group) error) (bool, error) {
	return false, nil
}

func (f *fakeStanding) ExpirePushGroups(_ context.Context, now time.Time, _ int, _ func([]series.Group) error) (int, error) {
	f.looks.Add(1)
	if f.err.Load() {
		return 0, errors.New("no database")
	}
	if f.ended.Load() == 0 && !now.Before(f.expires) {
		f.ended.Store(now.UnixMilli())
	}
	return 0, nil
}

func (f *fakeStanding) NextPushExpiry(context.Context) (time.Time, error) {
	if f.ended.Load() != 0 {
		return time.Time{}, nil
	}
	return f.expires, nil
}

func (f *fakeStanding) ChangePushGroup(context.Context, tenant.OrgID, []series.Label, func(*series.LockedGroup) error) error {
	return nil
}

func (f *fakeStanding) PushGroups(context.Context, tenant.OrgID, []byte, int) ([]series.Group, error) {
	return nil, nil
}

// TestRun: it looks every five seconds, wakes for a group that expires in between, survives errors, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeStanding{expires: time.Now().Add(7 * time.Second)}
		g, err := New(Options{Appender: &tsdb{t: t}, Groups: f, Standing: f, Keys: fakeKeys{}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if late := f.ended.Load() - f.expires.UnixMilli(); late < 0 || late > 20 {
			t.Errorf("the group ended %d ms after its time", late)
		}
		if n := f.claims.Load(); n < 12 || n > 15 {
			t.Errorf("%d claims in a minute", n)
		}
		f.err.Store(true)
		before := f.looks.Load()
		time.Sleep(time.Minute)
		if n := f.looks.Load() - before; n < 11 || n > 13 {
			t.Errorf("%d tries in a minute without a database", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("nothing is required")
	}
	f := &fakeStanding{}
	g, err := New(Options{Appender: &tsdb{}, Groups: f, Keys: fakeKeys{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("Run does without Standing")
	}
}

// TestBeatsAreShared: two processes append each minute's values once.
func TestBeatsAreShared(t *testing.T) {
	h := newHarness(t, nil)
	for i := range page + 20 { // more than are locked at a time
		h.do(200, "PUT", fmt.Sprintf("/push/metrics/job/j%d", i), "a 1\n", "Authorization", []string{"Bearer k1", "Bearer k2"}[i%2])
	}
	other := &beat{g: h.gateway}
	for range 3 {
		h.now = h.now.Add(time.Minute)
		for _, b := range []*beat{h.beat, other} {
			if _, err := b.look(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := byte(1); n <= 2; n++ {
		for i := int(n) - 1; i < page+20; i += 2 {
			if p := h.db.series[orgOf(n)][fmt.Sprintf("a{job=\"j%d\"}", i)]; len(p) != 4 {
				t.Fatalf("group %d of organisation %d: %v", i, n, p)
			}
		}
	}
}

// TestBeatGoesOn: a beat that failed half way is gone on with, for the same instant, and no group is written twice for it.
func TestBeatGoesOn(t *testing.T) {
	h := newHarness(t, nil)
	for i := range 3 {
		h.do(200, "PUT", fmt.Sprintf("/push/metrics/job/j%d", i), "a 1\n")
	}
	h.now = h.now.Add(time.Minute)
	instant := h.now.UnixMilli()
	h.db.err = errors.New("disk full")
	if _, err := h.beat.look(t.Context()); err == nil {
		t.Fatal("no error")
	}
	h.db.err = nil
	h.now = h.now.Add(5 * time.Second)
	h.do(200, "PUT", "/push/metrics/job/j1", "a 2\n") // later than the instant: it is left out
	if _, err := h.beat.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := h.points(`a{job="j0"}`); len(p) != 2 || p[1].at != instant {
		t.Errorf("%v", p)
	}
	h.want(`a{job="j0"} 1`, `a{job="j1"} 2`, `a{job="j2"} 1`)
}

// TestBrokenBody: a group that cannot be read does not keep the others down, and can be pushed away.
func TestBrokenBody(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "PUT", job, "a 1\n")
	h.do(200, "PUT", "/push/metrics/job/other", "a 1\n")
	if _, err := h.pool.Exec(t.Context(), `update push_groups set body = 'broken' where labels->>'job' = 'other'`); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		h.pass(time.Minute)
	}
	h.want(`a{job="backup"} 1`)
	h.do(200, "PUT", "/push/metrics/job/other", "a 3\n")
	h.want(`a{job="backup"} 1`, `a{job="other"} 3`)
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"# TYPE a counter\n# HELP a All.\na{x=\"y\"} 1\nb 2 3\n", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n# EOF\n", "{\"a b\"} 1\n",
	} {
		f.Add([]byte(s), "text/plain")
		f.Add([]byte(s), "application/openmetrics-text; version=1.0.0")
	}
	f.Add([]byte("\x18\n\x01a\x12\x01h\x18\x01\"\x0e\n\x06\n\x01x\x12\x01y\x12\x04\t\x00\x00\x00"), "application/vnd.google.protobuf")
	f.Fuzz(func(t *testing.T, body []byte, kind string) {
		families, _, err := parse(body, kind, 1000)
		if err != nil {
			return
		}
		n := 0
		for _, x := range families {
			n += len(x.series)
		}
		if n > 1000 {
			t.Fatalf("%d series", n)
		}
		b, err := encodeBody(families)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeBody(b)
		if err != nil || len(again) != len(families) {
			t.Fatalf("%d families became %d, %v", len(families), len(again), err)
		}
		if gone := vanished(families, again); len(gone) > 0 {
			t.Fatalf("%v vanished", gone)
		}
		if _, err := samples(again, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzBody(f *testing.F) {
	families, _, err := parse([]byte("# TYPE a counter\na{x=\"y\"} 1\nb 2\n"), "", 10)
	if err != nil {
		f.Fatal(err)
	}
	for _, families := range [][]*family{families, nil} {
		b, err := encodeBody(families)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		families, err := decodeBody(b)
		if err != nil && !errors.Is(err, errBody) {
			t.Fatal(err)
		}
		_ = vanished(families, nil)
	})
}

func FuzzPath(f *testing.F) {
	rules := admit.Rules{}.WithDefaults()
	f.Add("/push/metrics/job/a/x@base64/YQ==/y/%2F")
	f.Fuzz(func(t *testing.T, path string) {
		key, err := groupingKey(path, &rules)
		if err != nil {
			return
		}
		for i := 1; i < len(key); i++ {
			if key[i-1].Name >= key[i].Name {
				t.Fatalf("%q: %v", path, key)
			}
		}
	})
}
