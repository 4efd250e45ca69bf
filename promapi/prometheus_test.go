package promapi_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/timeline"
	"github.com/tokiflow/tokiflow/promapi"
	"github.com/tokiflow/tokiflow/test/services"
)

// zoo is monitors of every kind of life during the 3 hours before an instant.
func zoo(end time.Time, n int) []timeline.Timeline {
	r := rand.New(rand.NewPCG(1, 2))
	var list []*life
	for i := range n {
		at := end.Add(-time.Duration(60+r.IntN(120)) * time.Minute)
		l := bornAs(uuid.UUID{0: 0xaa, 15: byte(i)}, fmt.Sprint("monitor ", i), at)
		for {
			at = at.Add(time.Duration(r.Int64N(int64(6 * time.Minute))))
			if !at.Before(end) {
				break
			}
			switch r.IntN(12) {
			case 0:
				l.run(at, monitor.Failed, time.Duration(r.Int64N(int64(time.Hour)))).turns(at, monitor.Down)
			case 1:
				l.turns(at, []monitor.Status{monitor.Late, monitor.Paused, monitor.Up}[r.IntN(3)])
			case 2:
				l.named(at, fmt.Sprint("renamed ", r.IntN(3)))
			case 3:
				l.last.Due = at.Add(time.Hour)
				l.point(at)
			default:
				l.last.Due = time.Time{}
				l.run(at, monitor.Succeeded, time.Duration(r.Int64N(int64(3*time.Minute)))-time.Second)
				if l.status != monitor.Up {
					l.turns(at, monitor.Up)
				}
			}
		}
		if i%7 == 3 {
			l.deleted(end.Add(-time.Duration(r.Int64N(int64(30 * time.Minute)))))
			l.Points = slices.DeleteFunc(l.Points, func(p metric.Point) bool { return !p.At.Before(l.End) })
			l.Labels = slices.DeleteFunc(l.Labels, func(s timeline.Span) bool { return !s.From.Before(l.End) })
		}
		list = append(list, l)
	}
	return lives(list...)
}

// TestPrometheusSaysTheSame gives a real Prometheus every sample, as a scrape every 15 s would have, and asks both.
func TestPrometheusSaysTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	end := time.Now().Truncate(15 * time.Second)
	b := newBench(t, zoo(end, 8), func(o *promapi.Options) { o.Clock = func() time.Time { return end } })
	p := services.Prometheus(t, "global: {}\n", "--web.enable-remote-write-receiver")
	for from := end.Add(-3*time.Hour - time.Minute); from.Before(end); from = from.Add(10 * time.Minute) {
		to := from.Add(10 * time.Minute)
		if to.After(end) {
			to = end
		}
		err := b.api.Samples(t.Context(), org(1), from, to, 15*time.Second, func(list []series.Series) error {
			return remoteWrite(t, p.URL(), list)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	asked := 0
	for _, f := range comparisons(end) {
		path := f.Get("path")
		f.Del("path")
		wantStatus, want := askURL(t, p.URL()+"/api/v1"+path+"?"+f.Encode(), "")
		gotStatus, got := askURL(t, b.server.URL+"/prometheus/api/v1"+path+"?"+f.Encode(), "key-1")
		asked++
		if d := gocmp.Diff(inOrder(t, want), inOrder(t, got)); d != "" || wantStatus != gotStatus {
			if len(d) > 3000 {
				d = d[:3000]
			}
			t.Errorf("%s %v: %d and %d (-Prometheus +ours)\n%s", path, f, wantStatus, gotStatus, d)
		}
	}
	t.Logf("%d requests answered as Prometheus answers them", asked)
}

// comparisons are requests to both.
func comparisons(end time.Time) []url.Values {
	var out []url.Values
	unix := func(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }
	for _, q := range expressions() {
		for _, back := range []string{"0s", "1h1m7.5s"} {
			d, _ := time.ParseDuration(back)
			out = append(out, form("path", "/query", "query", q, "time", unix(end.Add(-d))))
		}
		for _, step := range []string{"15", "97.5", "300"} {
			out = append(out, form("path", "/query_range", "query", q, "start", unix(end.Add(-time.Hour)), "end", unix(end), "step", step))
		}
	}
	for _, q := range []string{"", "rate(", "up{", "sum by (", `{a=~"("}`, "foo bar", `1 + "a"`, "rate(up)", `{}`, "up[5m] + 1", "nosuch(1)", "up offset", "{__name__=\"a\", __name__=\"b\"}"} {
		for _, path := range []string{"/query", "/format_query", "/parse_query", "/query_exemplars"} {
			out = append(out, form("path", path, "query", q))
		}
		out = append(out, form("path", "/series", "match[]", q), form("path", "/labels", "match[]", q), form("path", "/label/id/values", "match[]", q))
	}
	for _, q := range append(expressions(), `sum without (a, b) (-up{a!="b",c!~"d.*"} offset -5m @ start()) > bool on (x) group_left (y) (1 + max_over_time(up[1h:5m] @ 123.4))`,
		`"text"`, `topk(5, a)`, `quantile(0.9, b) or c unless ignoring (d) e`) {
		out = append(out, form("path", "/parse_query", "query", q), form("path", "/format_query", "query", q))
	}
	window := []string{"start", unix(end.Add(-2 * time.Hour)), "end", unix(end)}
	for _, m := range []string{"tokiflow_monitor_up", `{__name__=~"tokiflow_monitor_(info|due.*)"}`, `{status="up"}`, `{id=~"aa.*0[1-5]"}`, `tokiflow_monitor_info{monitor=~"renamed.*"}`, "nothing"} {
		out = append(out, form(append([]string{"path", "/series", "match[]", m}, window...)...), form(append([]string{"path", "/labels", "match[]", m}, window...)...),
			form(append([]string{"path", "/label/__name__/values", "match[]", m}, window...)...), form(append([]string{"path", "/label/id/values", "match[]", m}, window...)...),
			// Of names, Prometheus tells those of whole blocks: only of all time both say the same.
			form("path", "/label/monitor/values", "match[]", m), form(append([]string{"path", "/label/status/values", "match[]", m}, window...)...))
	}
	for _, bad := range [][]string{
		{"/query", "query", "up", "time", "x"},
		{"/query", "query", "up", "timeout", "x"},
		{"/query", "query", "up", "lookback_delta", "x"},
		{"/query", "query", "up", "limit", "x"},
		{"/query_range", "query", "up", "start", "x"},
		{"/query_range", "query", "up", "start", "1", "end", "x"},
		{"/query_range", "query", "up", "start", "1", "end", "2", "step", "x"},
		{"/query_range", "query", "up", "start", "1", "end", "2", "step", "-1"},
		{"/query_range", "query", "up", "start", "1", "end", "20000", "step", "1"},
		{"/series"},
		{"/series", "match[]", "up", "start", "x"},
		{"/labels", "end", "x"},
		{"/label/0-a/values"},
		{"/label/U___zz/values"},
		{"/metadata", "limit", "x"},
		{"/metadata", "limit_per_metric", "x"},
		{"/rules"},
		{"/rules", "type", "x"},
		{"/rules", "group_limit", "x"},
		{"/alerts"},
		{"/targets"},
		{"/query_exemplars", "query", "up", "start", "x"},
		{"/label/nothing/values", "limit", "5"},
	} {
		out = append(out, form(append([]string{"path"}, bad...)...))
	}
	return out
}

func expressions() []string {
	return []string{
		`tokiflow_monitor_up`, `tokiflow_monitor_status == 1`, `{__name__=~"tokiflow_monitor_.*_timestamp_seconds"}`, `tokiflow_monitor_due_timestamp_seconds`,
		`tokiflow_monitor_mtbf_seconds`, `tokiflow_monitor_mttr_seconds`, `tokiflow_monitor_uptime_ratio`, `tokiflow_monitor_info`,
		`rate(tokiflow_monitor_runs_total[5m])`, `increase(tokiflow_monitor_runs_total{outcome="fail"}[1h])`, `irate(tokiflow_monitor_runs_total[2m])`,
		`delta(tokiflow_monitor_uptime_ratio[10m])`, `deriv(tokiflow_monitor_uptime_ratio[10m])`, `changes(tokiflow_monitor_up[30m])`, `resets(tokiflow_monitor_up[30m])`,
		`avg_over_time(tokiflow_monitor_up[17m])`, `min_over_time(tokiflow_monitor_up[1h:1m])`, `max_over_time(rate(tokiflow_monitor_runs_total[5m])[30m:])`, `count_over_time(tokiflow_monitor_up[5m])`,
		`stddev_over_time(tokiflow_monitor_last_run_duration_seconds[30m])`, `quantile_over_time(0.5, tokiflow_monitor_last_run_duration_seconds[30m])`,
		`last_over_time(tokiflow_monitor_due_timestamp_seconds[30m])`, `present_over_time(tokiflow_monitor_due_timestamp_seconds[3m])`,
		`histogram_quantile(0.9, rate(tokiflow_monitor_run_duration_seconds_bucket[30m]))`, `histogram_quantile(0.9, sum by (le) (rate(tokiflow_monitor_run_duration_seconds_bucket[30m])))`,
		`histogram_quantile(0.9, sum(rate(tokiflow_monitor_run_duration_seconds[30m])))`, `rate(tokiflow_monitor_run_duration_seconds[10m])`, `tokiflow_monitor_run_duration_seconds`,
		`histogram_avg(increase(tokiflow_monitor_run_duration_seconds[1h]))`, `histogram_fraction(0, 60, tokiflow_monitor_run_duration_seconds)`, `tokiflow_monitor_run_duration_seconds offset 20m`,
		`increase(tokiflow_monitor_run_duration_seconds[1h:5m])`, `rate(tokiflow_monitor_run_duration_seconds_sum[30m]) / rate(tokiflow_monitor_run_duration_seconds_count[30m])`,
		`absent(tokiflow_monitor_up{id="x"})`, `absent_over_time(tokiflow_monitor_up{id="aa000000-0000-0000-0000-000000000003"}[3m])`,
		`sum by (monitor) (tokiflow_monitor_up * on (id) group_left (monitor) tokiflow_monitor_info)`, `count by (monitor, tags) (tokiflow_monitor_info)`,
		`topk(3, tokiflow_monitor_last_run_duration_seconds)`, `count_values("v", tokiflow_monitor_up)`, `time() - tokiflow_monitor_last_success_timestamp_seconds > 300`,
		`timestamp(tokiflow_monitor_up)`, `tokiflow_monitor_up offset -3m`, `tokiflow_monitor_open_runs and on (id) (tokiflow_monitor_up == 0)`, `sort_desc(tokiflow_monitor_last_run_duration_seconds)`,
		`label_replace(tokiflow_monitor_up, "short", "$1", "id", ".*(..)")`, `count({__name__=~"tokiflow_.+"}) by (__name__)`, `predict_linear(tokiflow_monitor_uptime_ratio[30m], 3600)`,
		`sum(tokiflow_monitor_incidents_open) by (kind)`, `scalar(count(tokiflow_monitor_up))`, `vector(time())`, `tokiflow_monitor_anomaly_z_score`,
	}
}

func remoteWrite(t *testing.T, base string, list []series.Series) error {
	var req prompb.WriteRequest
	for _, s := range list {
		var ts prompb.TimeSeries
		for _, l := range s.Labels {
			ts.Labels = append(ts.Labels, prompb.Label{Name: l.Name, Value: l.Value})
		}
		for _, f := range s.Floats {
			ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: f.At, Value: f.Value})
		}
		for _, h := range s.Histograms {
			var p prompb.Histogram
			if err := p.Unmarshal(h.Data); err != nil {
				return err
			}
			ts.Histograms = append(ts.Histograms, p)
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	data, err := req.Marshal()
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, data)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Encoding", "snappy")
	r.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if said, _ := io.ReadAll(resp.Body); resp.StatusCode/100 != 2 {
		return fmt.Errorf("remote write: %d %s", resp.StatusCode, said)
	}
	return nil
}

func askURL(t *testing.T, u, key string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("X-Api-Key", key)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(got)
}

// inOrder is an answer whose lists of series are in one order: that of a vector means nothing.
func inOrder(t *testing.T, answer string) any {
	t.Helper()
	if answer == "" {
		return nil
	}
	var v any
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	order(v)
	return v
}

func order(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			order(x)
		}
		if list, ok := v["infos"].([]any); ok {
			slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
	case []any:
		if len(v) > 1 {
			if _, ok := v[0].(map[string]any); ok {
				slices.SortFunc(v, func(a, b any) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
		}
		for _, x := range v {
			order(x)
		}
	}
}
