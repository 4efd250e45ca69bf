package pushgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

const job = "/push/metrics/job/backup"

// TestGroups is the Pushgateway's own story of a group: PUT replaces it, POST replaces metrics of the same name, DELETE ends it.
func TestGroups(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "POST", job, "# TYPE a gauge\na 1\na{x=\"y\"} 2\nb 3\n")
	h.want(`a{job="backup"} 1`, `a{job="backup",x="y"} 2`, `b{job="backup"} 3`)
	h.now = h.now.Add(time.Second)
	h.do(200, "POST", job, "# TYPE a gauge\na 4\n")
	h.want(`a{job="backup"} 4`, `b{job="backup"} 3`)
	h.now = h.now.Add(time.Second)
	h.do(200, "POST", job+"/instance/i", "b 9\n")
	h.want(`a{job="backup"} 4`, `b{job="backup"} 3`, `b{instance="i",job="backup"} 9`)
	h.now = h.now.Add(time.Second)
	h.do(200, "PUT", job, "c 5\n")
	h.want(`c{job="backup"} 5`, `b{instance="i",job="backup"} 9`)
	h.now = h.now.Add(time.Second)
	h.do(202, "DELETE", job, "")
	h.want(`b{instance="i",job="backup"} 9`)
	h.do(202, "DELETE", job, "") // there is none: the Pushgateway does not mind
	h.now = h.now.Add(time.Second)
	h.do(200, "PUT", job+"/instance/i", "")
	h.want()
	if p := h.points(`push_time_seconds{job="backup"}`); p[len(p)-1].value != "stale" || len(p) != 4 {
		t.Errorf("push_time_seconds: %v", p)
	}
}

// TestValuesStand: nobody scrapes, yet a value is found whenever one asks, and in every step of a range.
func TestValuesStand(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "PUT", job, "a 1\n")
	for range 60 {
		h.pass(time.Minute)
		h.want(`a{job="backup"} 1`)
	}
	points := h.points(`a{job="backup"}`)
	if len(points) < 55 || len(points) > 62 {
		t.Errorf("%d samples in an hour", len(points))
	}
	for i := 1; i < len(points); i++ {
		if gap := points[i].at - points[i-1].at; gap > 66_000 {
			t.Errorf("%d ms without a sample", gap)
		}
	}
	h.do(200, "PUT", job, "a 2\n")
	h.want(`a{job="backup"} 2`)
	h.pass(2 * time.Minute)
	h.want(`a{job="backup"} 2`)
	h.do(202, "DELETE", job, "")
	h.want()
	h.pass(10 * time.Minute)
	h.want()
}

// TestTimeToLive: what is not pushed again in time goes stale, to the second; the group is gone.
func TestTimeToLive(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "PUT", job+"?ttl=10m", "a 1\n")
	h.do(200, "PUT", "/push/metrics/job/other", "a 7\n", "X-Tokiflow-TTL", "1d")
	h.pass(9 * time.Minute)
	h.do(200, "POST", job, "b 2\n") // the group keeps its time to live
	h.pass(9*time.Minute + 59*time.Second)
	h.want(`a{job="backup"} 1`, `b{job="backup"} 2`, `a{job="other"} 7`)
	pushed := h.now.Add(-9*time.Minute - 59*time.Second)
	h.pass(10 * time.Second)
	h.want(`a{job="other"} 7`)
	points := h.points(`a{job="backup"}`)
	if last := points[len(points)-1]; last.value != "stale" || last.at != pushed.Add(10*time.Minute).UnixMilli() {
		t.Errorf("ended by %v, not at %v", last, pushed.Add(10*time.Minute))
	}
	if got := h.do(200, "GET", "/push/api/v1/metrics", ""); strings.Contains(got, "backup") {
		t.Errorf("it is still listed: %s", got)
	}
	// Another push begins the group anew; without a time to live it stands for ever.
	h.do(200, "POST", job, "c 3\n")
	h.pass(30 * time.Minute)
	h.want(`c{job="backup"} 3`, `a{job="other"} 7`)
	h.do(200, "POST", job+"?ttl=5m", "c 3\n")
	h.do(200, "POST", job+"?ttl=0", "c 3\n")
	h.pass(30 * time.Minute)
	h.want(`c{job="backup"} 3`, `a{job="other"} 7`)
}

// TestPushAfterTheEnd: a group that is over, but not yet cleared away, gives nothing to the push that comes next.
func TestPushAfterTheEnd(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "PUT", job+"?ttl=1m", "# TYPE a counter\na 1\n")
	begun := h.now
	h.now = h.now.Add(time.Hour)
	h.do(200, "POST", job, "b 2\n")
	h.want(`b{job="backup"} 2`)
	if p := h.points(`a{job="backup"}`); len(p) != 2 || p[1] != (point{begun.Add(time.Minute).UnixMilli(), "stale"}) {
		t.Errorf("%v", p)
	}
	h.pass(30 * time.Second)
	h.want(`b{job="backup"} 2`)
	h.do(200, "PUT", "/push/metrics/job/x", "# TYPE a gauge\na 1\n") // a is nobody's counter any more
}

func TestBadTimeToLive(t *testing.T) {
	h := newHarness(t, nil)
	for _, ttl := range []string{"10", "soon", "-5m", "1ms", "400d"} {
		if got := h.do(400, "PUT", job+"?ttl="+ttl, "a 1\n"); !strings.Contains(got, "time to live") {
			t.Errorf("%s: %s", ttl, got)
		}
	}
	h.want()
}

// TestRefusals: the Pushgateway's checks, with its texts; what stood before stands still, and the group says when a push failed.
func TestRefusals(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "PUT", job, "# TYPE a counter\na 1\n")
	h.do(200, "PUT", "/push/metrics/job/other", "# TYPE b gauge\nb 1\n")
	const invalid = "pushed metrics are invalid or inconsistent with existing metrics: "
	for _, c := range []struct{ path, body, want string }{
		{job, "a 2 1700000000000\n", invalid + "pushed metrics must not have timestamps"},
		{job, "c 1\nc 2\n", invalid + "collected metric c{job=\"backup\"} was collected before with the same name and label values"},
		{job, "c{job=\"x\"} 1\nc{job=\"y\"} 2\n", invalid + "collected metric c"},
		{job, "# TYPE b counter\nb 2\n", invalid + "metric b has type counter, but in another group it has type gauge"},
		{job, "b 2\n", invalid + "metric b has type untyped, but in another group it has type gauge"},
		{job, "c{__x=\"1\"} 1\n", invalid + "series c"},
		{job, "a{ 2\n", "expected"},
		{job, "this is not it\n", "invalid syntax"},
		{job, "# TYPE a gauge\na 1\n# TYPE a counter\n", "second TYPE line"},
	} {
		h.now = h.now.Add(time.Second)
		if got := h.do(400, "POST", c.path, c.body); !strings.HasPrefix(got, invalid) == strings.HasPrefix(c.want, invalid) || !strings.Contains(got, c.want) {
			t.Errorf("%q: %s", c.body, got)
		}
		h.want(`a{job="backup"} 1`, `b{job="other"} 1`)
	}
	failures := h.points(`push_failure_time_seconds{job="backup"}`)
	if len(failures) != 7 || failures[0].value != "0" || !strings.HasPrefix(failures[6].value, "1.79") {
		t.Errorf("%v", failures)
	}
	// A group that nothing was taken for is there, with its failure.
	h.do(400, "PUT", "/push/metrics/job/new", "a 1 1\n")
	if p := h.points(`push_time_seconds{job="new"}`); len(p) != 1 || p[0].value != "0" {
		t.Errorf("%v", p)
	}
	// Its own metric may have another type from now on.
	h.do(200, "PUT", job, "# TYPE a gauge\na 5\n")
	h.want(`a{job="backup"} 5`, `b{job="other"} 1`)
}

// TestTenancy: groups of another organisation are not seen, changed, deleted, or compared with.
func TestTenancy(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "PUT", job, "# TYPE a gauge\na 1\n")
	h.do(200, "PUT", job, "# TYPE a counter\na 2\nb 3\n", "Authorization", "Bearer k2")
	h.want(`a{job="backup"} 1`)
	h.do(202, "DELETE", job, "", "Authorization", "Bearer k2")
	h.want(`a{job="backup"} 1`)
	if got := h.db.at(orgOf(2), h.now.Add(time.Second)); got != "" {
		t.Errorf("organisation 2 has %s", got)
	}
	for key, n := range map[string]int{"k1": 1, "k2": 0} {
		var list struct{ Data []any }
		if err := json.Unmarshal([]byte(h.do(200, "GET", "/push/api/v1/metrics", "", "Authorization", "Bearer "+key)), &list); err != nil || len(list.Data) != n {
			t.Errorf("%s sees %v, %v", key, list.Data, err)
		}
	}
	h.pass(2 * time.Minute)
	h.want(`a{job="backup"} 1`)
	h.do(401, "PUT", job, "a 1\n", "Authorization", "Bearer nobody")
	h.do(403, "PUT", job, "a 1\n", "Authorization", "Bearer readonly")
	h.do(403, "DELETE", job, "", "Authorization", "Bearer readonly")
	h.do(401, "GET", "/push/api/v1/metrics", "", "Authorization", "")
}

// TestUnavailable: without the log, or the database, nothing is promised; and nothing has changed.
func TestUnavailable(t *testing.T) {
	h := newHarness(t, nil)
	h.do(200, "PUT", job, "a 1\n")
	h.db.err = errors.New("disk full")
	h.do(503, "PUT", job, "a 2\nb 1\n")
	h.do(503, "DELETE", job, "")
	h.do(503, "PUT", job, "a 1 1\n")
	h.now = h.now.Add(time.Minute)
	if _, err := h.beat.look(t.Context()); err == nil {
		t.Error("the beat has not noticed")
	}
	h.db.err = nil
	h.pass(time.Minute)
	h.want(`a{job="backup"} 1`)
	h.pool.Close()
	h.do(503, "PUT", job, "a 2\n")
}

func TestBounds(t *testing.T) {
	h := newHarness(t, func(o *Options) {
		o.MaxBody, o.MaxSeries = 1000, 3
		o.Limiter = admit.NewLimiter(admit.Limits{SamplesPerSecond: 10, ActiveSeries: 5}, o.Clock)
	})
	h.do(413, "PUT", job, strings.Repeat("#\n", 600))
	h.do(400, "PUT", job, "a 1\nb 1\nc 1\nd 1\n")
	h.do(200, "POST", job, "a 1\nb 1\n")
	if got := h.do(400, "POST", job, "c 1\nd 1\n"); !strings.Contains(got, "more than 3 series") {
		t.Error(got)
	}
	h.do(429, "POST", "/push/metrics/job/x", "a 1\nb 1\n") // the other group's c and d have been seen
	h.do(415, "PUT", job, "a 1\n", "Content-Encoding", "br")
	h.do(400, "PUT", job, "a 1\n", "Content-Encoding", "gzip")
	h.want(`a{job="backup"} 1`, `b{job="backup"} 1`)
}

// TestConcurrentPushes: many at once to one group, and a beat between them: no value comes back that was replaced.
func TestConcurrentPushes(t *testing.T) {
	h := newHarness(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 10 {
				h.do(200, "PUT", job, fmt.Sprintf("a %d\nb%d 1\n", n, i))
			}
		})
	}
	for range 10 {
		if _, err := h.beat.look(t.Context()); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	groups, err := h.store.PushGroups(t.Context(), orgOf(1), nil, 10)
	if err != nil || len(groups) != 1 {
		t.Fatalf("%v, %v", groups, err)
	}
	h.now = h.now.Add(time.Second)
	families, err := decodeBody(groups[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range families {
		for _, s := range f.series {
			want = append(want, fmt.Sprintf("%s %v", nameOf(s.Labels), s.Floats[0].Value))
		}
	}
	h.want(want...)
}

// TestAGroupCanBeReadAgain: pushes add up to a group, which must not outgrow what can be read: what was answered must stand.
func TestAGroupCanBeReadAgain(t *testing.T) {
	h := newHarness(t, nil)
	push := func(status int, name string) {
		var b strings.Builder
		for i := range 5000 {
			fmt.Fprintf(&b, "%s{a=\"%s%d\"} 1\n", name, strings.Repeat(name, 2000), i)
		}
		h.do(status, "POST", job, b.String())
		h.now = h.now.Add(time.Second)
	}
	push(200, "a")
	push(400, "b") // 20 MB with what stands there
	h.pass(time.Minute)
	if got := h.db.at(orgOf(1), h.now); !strings.Contains(got, "a{") || strings.Contains(got, "b{") {
		t.Errorf("%d bytes stand", len(got))
	}
}

// stuck is a log that takes nothing until it is let go.
type stuck struct {
	Appender
	begun, free chan struct{}
}

func (s stuck) AppendSamples(ctx context.Context, org tenant.OrgID, list []series.Series, about []series.Metadata) error {
	select {
	case s.begun <- struct{}{}:
	default:
	}
	select {
	case <-s.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.Appender.AppendSamples(ctx, org, list, about)
}

// TestPushesLeaveConnectionsToOthers: however many push into one group while the log is slow, the database can be used.
func TestPushesLeaveConnectionsToOthers(t *testing.T) {
	var log stuck
	h := newHarness(t, func(o *Options) {
		log = stuck{Appender: o.Appender, begun: make(chan struct{}, 1), free: make(chan struct{})}
		o.Appender = log
	})
	size := int(h.pool.Config().MaxConns)
	var wg sync.WaitGroup
	for i := range 3 * size {
		wg.Go(func() { h.do(200, "PUT", job, fmt.Sprintf("a %d\n", i)) })
	}
	<-log.begun
	for held := int32(-1); held != h.pool.Stat().AcquiredConns(); time.Sleep(100 * time.Millisecond) {
		held = h.pool.Stat().AcquiredConns() // it has settled when it does not change
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := h.pool.Exec(ctx, `select 1`); err != nil {
		t.Errorf("%d of %d connections are held: %v", h.pool.Stat().AcquiredConns(), size, err)
	}
	close(log.free)
	wg.Wait()
	if len(h.gateway.turns.of) != 0 || len(h.gateway.turns.all) != 0 {
		t.Errorf("turns are not given back: %v", h.gateway.turns.of)
	}
}
