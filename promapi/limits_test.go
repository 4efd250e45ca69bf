package promapi_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/promapi"
	"github.com/tokiflow/tokiflow/saas/auth"
)

func many(n int) []*life {
	var list []*life
	for i := range n {
		list = append(list, born(byte(i), fmt.Sprint("m", i), ago("24h")))
	}
	return list
}

func TestLimitsSayWhichAndWhatToDo(t *testing.T) {
	b := newBench(t, lives(many(20)...), func(o *promapi.Options) {
		o.Limits = promapi.Limits{MaxSamples: 500, MaxSeries: 50}
		o.Stored = func(tenant.OrgID) storage.Queryable {
			var list []storage.Series
			for i := range 40 {
				list = append(list, written(1, "load", "n", fmt.Sprint(100+i)))
			}
			return (&stored{list: list}).queryable()
		}
	})
	const series = "the query selects more than 50 series: name the metric, or match fewer monitors by id"
	const samples = "the limit is 500: shorten the time range, widen the step, or select fewer series"
	for path, want := range map[string]string{
		"/query?query=tokiflow_monitor_status":                                                         series,
		`/query?query={__name__=~"load|tokiflow_monitor_up"}`:                                          series,
		"/query?query=load%2bload":                                                                     series,
		"/series?match[]=tokiflow_monitor_status":                                                      series,
		`/label/__name__/values?match[]={id=~"aa.*"}`:                                                  series,
		"/query_range?query=tokiflow_monitor_up&start=1795431600&end=1795435200&step=60":               samples,
		"/query?query=sum_over_time(tokiflow_monitor_up[3h])":                                          samples,
		"/query?query=count(last_over_time(tokiflow_monitor_status{status=%22up%22}[1h:1s]))%20or%20x": samples,
	} {
		status, got := b.get("key-1", path, nil)
		if status != 422 || !strings.Contains(got, want) || !strings.Contains(got, `"errorType":"execution"`) {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
	if status, got := b.get("key-1", "/query?query=sum(tokiflow_monitor_up)%2bcount(load)", nil); status != 422 {
		t.Errorf("20 and 40 series are more than 50: %d %s", status, got)
	}
	if status, got := b.get("key-1", "/series?match[]=tokiflow_monitor_status&limit=30", nil); status != 200 || strings.Count(got, "__name__") != 30 ||
		!strings.Contains(got, "truncated due to limit") {
		t.Errorf("a limit in the request keeps below ours: %d %s", status, got)
	}
	if status, _ := b.get("key-1", "/query?query=sum(tokiflow_monitor_up)", nil); status != 200 {
		t.Errorf("20 series: %d", status)
	}
}

func TestChangesInMemoryAreLimited(t *testing.T) {
	l := born(1, "busy", ago("3h"))
	for i := range 600 {
		l.run(ago("2h59m").Add(time.Duration(i)*15*time.Second), "success", time.Second)
	}
	b := newBench(t, lives(l), func(o *promapi.Options) { o.Limits.MaxSamples = 500 })
	status, got := b.get("key-1", "/query?query=tokiflow_monitor_runs_total[3h]", nil)
	if status != 422 || !strings.Contains(got, "more than 500 changes of value") {
		t.Errorf("%d %s", status, got)
	}
}

func TestTime(t *testing.T) {
	wait := &stored{wait: make(chan struct{})}
	b := newBench(t, nil, func(o *promapi.Options) {
		o.Stored = func(tenant.OrgID) storage.Queryable { return wait.queryable() }
		o.Limits.MaxConcurrent = 1
	})
	for _, path := range []string{"/query?query=load&timeout=50ms", "/query_range?query=load&start=1&end=2&step=1&timeout=0.05", "/series?match[]=load&timeout=50ms"} {
		status, got := b.get("key-1", path, nil)
		if status != 503 || !strings.Contains(got, `"errorType":"timeout"`) || !strings.Contains(got, "the limit is 2m0s, or the parameter timeout") {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { b.get("key-1", "/query?query=load", nil) })
	// Once the only place is taken, the next waits until its time is over; another organisation does not.
	var got string
	for status := 0; !strings.Contains(got, "waited for its turn"); {
		if status, got = b.get("key-1", "/query?query=1&timeout=20ms", nil); status != 200 && status != 503 {
			t.Fatalf("%d %s", status, got)
		}
	}
	if !strings.Contains(got, "the limit is 1 queries at once") || !strings.Contains(got, `"errorType":"timeout"`) {
		t.Errorf("%s", got)
	}
	if status, got := b.get("key-2", "/query?query=1", nil); status != 200 {
		t.Errorf("another organisation: %d %s", status, got)
	}
	close(wait.wait)
	wg.Wait()
	if status, got := b.get("key-1", "/query?query=1", nil); status != 200 {
		t.Errorf("afterwards: %d %s", status, got)
	}
}

func TestTheHorizonAndTheRetentionAreTheEnds(t *testing.T) {
	l := born(1, "a", ago("100h"))
	fail := false
	b := newBench(t, lives(l), func(o *promapi.Options) {
		o.Retention = 48 * time.Hour
		o.Horizon = func(_ context.Context, id tenant.OrgID) (time.Time, error) {
			if fail || id != org(1) {
				return time.Time{}, fmt.Errorf("asked for %s", id)
			}
			return ago("31s"), nil
		}
	})
	for expr, want := range map[string]string{
		`timestamp(tokiflow_monitor_up)`: `{id="` + l.id() + `"} 1.795435155e+09`, // 45 s ago
		// 48 h from the horizon on, at 15 s: both ends are instants or not.
		`count_over_time(tokiflow_monitor_up[90h])`: `{id="` + l.id() + `"} 11520`,
		`tokiflow_monitor_up offset 49h`:            ``,
	} {
		if got := b.vector(expr); got != want {
			t.Errorf("%s: %s, want %s", expr, got, want)
		}
	}
	if _, got := b.get("key-1", "/series?match[]=tokiflow_monitor_up&end=1795262000", nil); got != `{"status":"success","data":[]}` {
		t.Errorf("before the retention: %s", got)
	}
	for _, path := range []string{
		"/query?query=tokiflow_monitor_up&time=1e18", "/query?query=tokiflow_monitor_up&time=-1e18", "/query?query=count_over_time(tokiflow_monitor_up[290y])&time=9e9",
		"/query?query=tokiflow_monitor_up offset -290y", "/query_range?query=tokiflow_monitor_up&start=-1e18&end=1e18&step=1y", "/series?match[]=tokiflow_monitor_up&start=1e18",
	} {
		if status, got := b.get("key-1", strings.ReplaceAll(path, " ", "%20"), nil); status != 200 && status != 400 {
			t.Errorf("%s: %d %s", path, status, got)
		}
	}
	before := len(b.history.queries())
	if _, got := b.get("key-1", "/series?match[]=tokiflow_monitor_up", nil); !strings.Contains(got, l.id()) {
		t.Errorf("all time: %s", got)
	}
	q := b.history.queries()[before]
	if q.From.Before(ago("49h")) || q.To.After(now()) {
		t.Errorf("all time was not held to what is kept: %v to %v", q.From, q.To)
	}
	fail = true
	if status, _ := b.get("key-1", "/query?query=tokiflow_monitor_up", nil); status != 500 {
		t.Errorf("no horizon: %d", status)
	}
}

func TestSlowQueriesAreLogged(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	at := now()
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); at = at.Add(6 * time.Second); return at }
	b := newBench(t, nil, func(o *promapi.Options) {
		o.Clock, o.Logger = clock, slog.New(slog.NewTextHandler(&log, nil))
		o.Limits.SlowQuery = 5 * time.Second
		o.Keys = auth.NewKeys(keys{}, now)
	})
	if _, err := b.api.Query(t.Context(), org(1), "vector(41)", now()); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, "slow query") || !strings.Contains(got, "vector(41)") || !strings.Contains(got, org(1).String()) {
		t.Errorf("%s", got)
	}
}

func TestNewNeedsItsParts(t *testing.T) {
	if _, err := promapi.New(promapi.Options{}); err == nil {
		t.Error("no error")
	}
}

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"))
}
