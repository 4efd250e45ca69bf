package forward_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/forward"
)

// datadogServer is Datadog's series API as far as its documentation tells.
type datadogServer struct {
	*httptest.Server
	t      *testing.T
	mu     sync.Mutex
	points map[string]float64 // by "metric type interval tags at seconds"
	refuse int                // status; 0: none
}

func newDatadogServer(t *testing.T) *datadogServer {
	t.Helper()
	d := &datadogServer{t: t, points: map[string]float64{}}
	d.Server = httptest.NewServer(http.HandlerFunc(d.serve))
	t.Cleanup(d.Close)
	return d
}

func (d *datadogServer) serve(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refuse != 0 {
		w.WriteHeader(d.refuse)
		return
	}
	if r.Method != http.MethodPost || r.URL.Path != "/api/v2/series" || r.Header.Get("Dd-Api-Key") != "dd-key" || r.Header.Get("Content-Type") != "application/json" {
		d.t.Errorf("%s %s with %v", r.Method, r.URL, r.Header)
		w.WriteHeader(http.StatusForbidden)
		return
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil || r.Header.Get("Content-Encoding") != "gzip" || r.ContentLength > 512_000 {
		d.t.Errorf("not gzip, or too long: %v, %d bytes", err, r.ContentLength)
		return
	}
	var body struct {
		Series []struct {
			Metric   string
			Type     int
			Interval int64
			Points   []struct {
				Timestamp int64
				Value     float64
			}
			Tags []string
		}
	}
	dec := json.NewDecoder(z)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		d.t.Errorf("not JSON as it should be: %v", err)
	}
	for _, s := range body.Series {
		slices.Sort(s.Tags)
		for _, p := range s.Points {
			if age := time.Since(time.Unix(p.Timestamp, 0)); age > time.Hour {
				d.t.Errorf("a point is %v old: Datadog does not take it", age)
			}
			d.points[fmt.Sprintf("%s type %d per %d of %s at %d", s.Metric, s.Type, s.Interval, strings.Join(s.Tags, " "), p.Timestamp)] += p.Value
		}
	}
	w.WriteHeader(http.StatusAccepted)
	_, _ = w.Write([]byte(`{"errors":[]}`))
}

func (d *datadogServer) all() map[string]float64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.points)
}

// fixed is samples as they are given.
type fixed []series.Series

func (f fixed) Samples(_ context.Context, _ tenantID, from, to time.Time, _ time.Duration, give func([]series.Series) error) error {
	var piece []series.Series
	for _, s := range f {
		one := series.Series{Labels: s.Labels}
		for _, v := range s.Floats {
			if v.At > from.UnixMilli() && v.At <= to.UnixMilli() {
				one.Floats = append(one.Floats, v)
			}
		}
		piece = append(piece, one)
	}
	return give(piece)
}

// line is a series with a sample at each instant of the grid from begin on; NaN is a staleness marker, +Inf none at all.
func line(begin time.Time, labels string, values ...float64) series.Series {
	s := series.Series{}
	for l := range strings.SplitSeq(labels, " ") {
		name, value, _ := strings.Cut(l, "=")
		s.Labels = append(s.Labels, series.Label{Name: name, Value: value})
	}
	series.Sort(s.Labels)
	for i, v := range values {
		switch {
		case math.IsNaN(v):
			v = math.Float64frombits(0x7ff0000000000002)
		case math.IsInf(v, 1):
			continue
		}
		s.Floats = append(s.Floats, series.Float{At: begin.Add(time.Duration(i) * step).UnixMilli(), Value: v})
	}
	return s
}

func TestDatadog(t *testing.T) {
	s, d := newBundle(t), newDatadogServer(t)
	s.put(s.a, "dd", core.Config{Kind: core.Datadog, URL: d.URL, ExternalLabels: map[string]string{"env": "prod"}}, core.Secret{APIKey: "dd-key"})
	nan, none := math.NaN(), math.Inf(1)
	source := fixed{
		line(s.begin, "__name__=tokiflow_monitor_info id=1 monitor=backup tags=,a,b,", 1, 1, nan, none),
		line(s.begin, "__name__=tokiflow_monitor_info id=1 monitor=renamed", none, none, 1, 1),
		line(s.begin, "__name__=tokiflow_monitor_up id=1", 1, 0, 1, nan),
		line(s.begin, "__name__=tokiflow_monitor_runs_total id=1 outcome=success", 7, 9, 9, 2),
		line(s.begin, "__name__=tokiflow_monitor_runs_total id=2 outcome=success", none, 3, 4, nan),
		line(s.begin, "__name__=tokiflow_monitor_run_duration_seconds_count id=1", 1, 1, 2, 2),
		line(s.begin, "__name__=tokiflow_monitor_run_duration_seconds_bucket id=1 le=1.0", 1, 1, 2, 2),
	}
	s.start(func(o *forward.Options) { o.Source = source })
	for range 3 { // one by one, so that each step has its own before
		s.awaitPosition(s.a, "dd", s.advance(1))
	}
	at := func(i int) int64 { return s.begin.Add(time.Duration(i) * step).Unix() }
	old, young := "env:prod id:1 monitor:backup tags:a tags:b", "env:prod id:1 monitor:renamed"
	success := func(tags string) string { return strings.Replace(tags, " tags", " outcome:success tags", 1) }
	want := map[string]float64{
		fmt.Sprintf("tokiflow_monitor_info type 3 per 0 of %s at %d", old, at(1)):                              1,
		fmt.Sprintf("tokiflow_monitor_info type 3 per 0 of %s at %d", young, at(2)):                            1,
		fmt.Sprintf("tokiflow_monitor_info type 3 per 0 of %s at %d", young, at(3)):                            1,
		fmt.Sprintf("tokiflow_monitor_up type 3 per 0 of %s at %d", old, at(1)):                                0,
		fmt.Sprintf("tokiflow_monitor_up type 3 per 0 of %s at %d", young, at(2)):                              1,
		fmt.Sprintf("tokiflow_monitor_runs_total type 1 per 15 of %s at %d", success(old), at(1)):              2,
		fmt.Sprintf("tokiflow_monitor_runs_total type 1 per 15 of %s outcome:success at %d", young, at(2)):     0,
		fmt.Sprintf("tokiflow_monitor_runs_total type 1 per 15 of %s outcome:success at %d", young, at(3)):     2,
		fmt.Sprintf("tokiflow_monitor_runs_total type 1 per 15 of env:prod id:2 outcome:success at %d", at(1)): 3,
		fmt.Sprintf("tokiflow_monitor_runs_total type 1 per 15 of env:prod id:2 outcome:success at %d", at(2)): 1,
		fmt.Sprintf("tokiflow_monitor_run_duration_seconds_count type 1 per 15 of %s at %d", old, at(1)):       0,
		fmt.Sprintf("tokiflow_monitor_run_duration_seconds_count type 1 per 15 of %s at %d", young, at(2)):     1,
		fmt.Sprintf("tokiflow_monitor_run_duration_seconds_count type 1 per 15 of %s at %d", young, at(3)):     0,
	}
	if diff := cmp.Diff(want, d.all()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDatadogIsAskedForBucketsByName(t *testing.T) {
	s, d := newBundle(t), newDatadogServer(t)
	s.put(s.a, "dd", core.Config{Kind: core.Datadog, URL: d.URL + "/", Metrics: []string{"*_bucket"}}, core.Secret{APIKey: "dd-key"})
	source := fixed{
		line(s.begin, "__name__=tokiflow_monitor_up id=1", 1, 1),
		line(s.begin, "__name__=tokiflow_monitor_run_duration_seconds_bucket id=1 le=1.0", 1, 3),
	}
	s.start(func(o *forward.Options) { o.Source = source })
	d.mu.Lock()
	d.refuse = http.StatusRequestTimeout
	d.mu.Unlock()
	last := s.advance(1)
	s.awaitStatus(s.a, "dd", "a timeout is tried again", func(st core.Status) bool { return st.FailedTries > 0 })
	d.mu.Lock()
	d.refuse = 0
	d.mu.Unlock()
	s.awaitPosition(s.a, "dd", last)
	want := map[string]float64{
		fmt.Sprintf("tokiflow_monitor_run_duration_seconds_bucket type 1 per 15 of id:1 le:1.0 at %d", last.Unix()): 2,
	}
	if diff := cmp.Diff(want, d.all()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestDatadogIsSentNothingThatItDoesNotTake(t *testing.T) {
	s, d := newBundle(t), newDatadogServer(t)
	s.put(s.a, "dd", core.Config{Kind: core.Datadog, URL: d.URL}, core.Secret{APIKey: "dd-key"})
	s.exec(`update forwards set position = $1`, s.begin.Add(-3*time.Hour))
	s.start()
	st := s.awaitPosition(s.a, "dd", s.begin)
	if st.Skipped < 2*time.Hour || st.Skipped > 3*time.Hour || st.Sent == 0 {
		t.Errorf("status %+v", st)
	}
}
