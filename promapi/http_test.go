package promapi_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/promapi"
	"github.com/tokiflow/tokiflow/saas/auth"
)

func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

const aaID = "aa000000-0000-0000-0000-000000000001"

// TestAnswersAreThoseOfPrometheus holds answers byte for byte to what a Prometheus 3 writes.
func TestAnswersAreThoseOfPrometheus(t *testing.T) {
	l := born(1, `ba"ck`+"\n", ago("1h")).run(ago("30m"), monitor.Succeeded, 1500*time.Millisecond).turns(ago("30s"), monitor.Down)
	b := newBench(t, lives(l), func(o *promapi.Options) {
		o.Stored = func(tenant.OrgID) storage.Queryable {
			return (&stored{list: []storage.Series{written(0.25, "load", "härte", `x\y`, "job", "node")}}).queryable()
		}
		o.Metadata = metadata{org(1): {"load": {{Name: "load", Type: "gauge", Help: "Load."}, {Name: "load"}}}}
	})
	up := `{"__name__":"tokiflow_monitor_up","id":"` + aaID + `"}`
	for _, c := range []struct {
		path   string
		form   url.Values
		status int
		want   string
	}{
		{
			"/query", form("query", "tokiflow_monitor_up"), 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":` + up + `,"value":[1795435200,"0"]}]}}`,
		},
		{
			"/query", form("query", "tokiflow_monitor_up[30s]", "time", "1795435200.5"), 200,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":` + up + `,"values":[[1795435185,"0"],[1795435200,"0"]]}]}}`,
		},
		{"/query", form("query", "2.5e-7"), 200, `{"status":"success","data":{"resultType":"scalar","result":[1795435200,"2.5e-07"]}}`},
		{"/query", form("query", `"a\"b"`, "time", "2026-11-23T12:00:00.25Z"), 200, `{"status":"success","data":{"resultType":"string","result":[1795435200.250,"a\"b"]}}`},
		{"/query", form("query", "vector(-1/0) or vector(0/0)"), 200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1795435200,"-Inf"]}]}}`},
		{"/query", form("query", "vector(0/0)"), 200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1795435200,"NaN"]}]}}`},
		{
			"/query", form("query", "tokiflow_monitor_run_duration_seconds"), 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"tokiflow_monitor_run_duration_seconds","id":"` + aaID + `"},` +
				`"histogram":[1795435200,{"count":"1","sum":"1.5","buckets":[[0,"1.414213562373095","1.5422108254079407","1"]]}]}]}}`,
		},
		{"/query", form("query", "load"), 200, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"load","härte":"x\\y","job":"node"},"value":[1795435200,"0.25"]}]}}`},
		{
			"/query", form("query", "tokiflow_monitor_status", "limit", "1"), 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"tokiflow_monitor_status","id":"` + aaID + `","status":"down"},"value":[1795435200,"1"]}]},` +
				`"warnings":["results truncated due to limit"]}`,
		},
		{
			"/query", form("query", "rate(load[5m])"), 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"härte":"x\\y","job":"node"},"value":[1795435200,"0"]}]},` +
				`"infos":["PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"load\" (1:6)"]}`,
		},
		{
			"/query_range", form("query", "tokiflow_monitor_up", "start", "1795435140", "end", "2026-11-23T12:00:00Z", "step", "30s"), 200,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":` + up + `,"values":[[1795435140,"1"],[1795435170,"0"],[1795435200,"0"]]}]}}`,
		},
		{
			"/query_range", form("query", "vector(1)", "start", "0.001", "end", "0.101", "step", "0.05"), 200,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[0.001,"1"],[0.051,"1"],[0.101,"1"]]}]}}`,
		},
		{"/query_range", form("query", "nothing", "start", "1", "end", "2", "step", "1"), 200, `{"status":"success","data":{"resultType":"matrix","result":[]}}`},
		{
			"/series", form("match[]", "tokiflow_monitor_up", "match[]", `load`), 200,
			`{"status":"success","data":[{"__name__":"load","härte":"x\\y","job":"node"},` + up + `]}`,
		},
		{
			"/series", form("match[]", `{monitor=~"ba.*"}`), 200,
			`{"status":"success","data":[{"__name__":"tokiflow_monitor_info","id":"` + aaID + `","label_team":"ops","monitor":"ba\"ck\n","project":"main","schedule":" UTC","tags":",a,b,"}]}`,
		},
		{"/labels", nil, 200, `{"status":"success","data":["__name__","härte","id","job","kind","label_team","le","monitor","outcome","project","schedule","status","tags"]}`},
		{"/labels", form("match[]", "tokiflow_monitor_up", "match[]", "load", "limit", "2"), 200, `{"status":"success","data":["__name__","härte"],"warnings":["results truncated due to limit"]}`},
		{"/label/status/values", nil, 200, `{"status":"success","data":["down","late","new","paused","up"]}`},
		{"/label/id/values", nil, 200, `{"status":"success","data":["` + aaID + `"]}`},
		{"/label/id/values", form("match[]", `{status="up"}`), 200, `{"status":"success","data":["` + aaID + `"]}`},
		{"/label/status/values", form("match[]", `{id="`+aaID+`"}`), 200, `{"status":"success","data":["down","late","new","paused","up"]}`},
		{"/label/monitor/values", nil, 200, `{"status":"success","data":["ba\"ck\n"]}`},
		{"/label/__name__/values", form("match[]", `{id="`+aaID+`", outcome="fail"}`), 200, `{"status":"success","data":["tokiflow_monitor_runs_total"]}`},
		{"/label/__name__/values", form("match[]", `{monitor=~".+"}`), 200, `{"status":"success","data":["tokiflow_monitor_info"]}`},
		{"/label/U__h_E4_rte/values", nil, 200, `{"status":"success","data":["x\\y"]}`},
		{"/label/h%C3%A4rte/values", nil, 200, `{"status":"success","data":["x\\y"]}`},
		{"/label/none/values", nil, 200, `{"status":"success","data":[]}`},
		{"/metadata", form("metric", "load"), 200, `{"status":"success","data":{"load":[{"type":"gauge","unit":"","help":"Load."},{"type":"unknown","unit":"","help":""}]}}`},
		{"/metadata", form("metric", "load", "limit_per_metric", "1"), 200, `{"status":"success","data":{"load":[{"type":"gauge","unit":"","help":"Load."}]}}`},
		{"/metadata", form("limit", "0"), 200, `{"status":"success","data":{}}`},
		{"/query_exemplars", form("query", "up"), 200, `{"status":"success","data":[]}`},
		{"/targets", nil, 200, `{"status":"success","data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}}`},
		{"/rules", nil, 200, `{"status":"success","data":{"groups":[]}}`},
		{"/alerts", nil, 200, `{"status":"success","data":{"alerts":[]}}`},
		{"/format_query", form("query", "sum(rate( up [5m]))by(job)"), 200, `{"status":"success","data":"sum by (job) (rate(up[5m]))"}`},

		{"/query", form("query", "rate("), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:6: parse error: unclosed left parenthesis"}`},
		{"/query", form(), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": unknown position: parse error: no expression found in input"}`},
		{"/query", form("query", "up", "time", "noon"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"time\": invalid time value for 'time': cannot parse \"noon\" to a valid timestamp"}`},
		{"/query", form("query", "up", "limit", "-1"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"limit\": limit must be non-negative"}`},
		{"/query", form("query", "up", "timeout", "soon"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"timeout\": cannot parse \"soon\" to a valid duration"}`},
		{"/query_range", form("query", "up", "start", "2", "end", "1", "step", "1"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"end\": end timestamp must not be before start time"}`},
		{"/query_range", form("query", "up", "start", "1", "end", "2"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": cannot parse \"\" to a valid duration"}`},
		{"/query_range", form("query", "up", "start", "1", "end", "2", "step", "0"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer"}`},
		{"/query_range", form("query", "up", "start", "0", "end", "11001", "step", "1"), 400, `{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}`},
		{"/series", nil, 400, `{"status":"error","errorType":"bad_data","error":"no match[] parameter provided"}`},
		{"/series", form("match[]", `{id=~".*"}`), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"match[]\": match[] must contain at least one non-empty matcher"}`},
		{"/metadata", form("limit", "x"), 400, `{"status":"error","errorType":"bad_data","error":"limit must be a number"}`},
		{
			"/query", form("query", `label_replace(tokiflow_monitor_status, "status", "x", "", "")`), 422,
			`{"status":"error","errorType":"execution","error":"vector cannot contain metrics with the same labelset"}`,
		},
		{"/nothing", nil, 404, `{"status":"error","errorType":"not_found","error":"there is no /prometheus/api/v1/nothing: docs/prometheus.md lists the endpoints"}`},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if method == http.MethodPost && !strings.HasPrefix(c.path, "/query") && c.path != "/series" && c.path != "/labels" {
				continue
			}
			status, got := b.send(method, "key-1", c.path, c.form)
			if d := cmp.Diff(c.want, got); d != "" || status != c.status {
				t.Errorf("%s %s %v: %d\n%s\n(-want +got)\n%s", method, c.path, c.form, status, got, d)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	b := newBench(t, nil, nil)
	for _, c := range []struct {
		key    string
		status int
		want   string
	}{
		{"", 401, `{"status":"error","errorType":"unauthorized","error":"an API key is required: Authorization: Bearer tkf_…, or X-Api-Key"}`},
		{"nope", 401, `{"status":"error","errorType":"unauthorized","error":"there is no such API key"}`},
		{"write-1", 403, `{"status":"error","errorType":"forbidden","error":"the API key lacks the scope \"metrics\""}`},
	} {
		for _, path := range []string{
			"/query", "/query_range", "/series", "/labels", "/label/a/values", "/metadata", "/rules", "/alerts", "/targets", "/query_exemplars",
			"/format_query", "/parse_query", "/status/buildinfo",
		} {
			if status, got := b.get(c.key, path, nil); status != c.status || got != c.want {
				t.Errorf("%q %s: %d %s", c.key, path, status, got)
			}
		}
		if status, got := b.send(http.MethodPost, c.key, "/read", nil); status != c.status || got != c.want {
			t.Errorf("%q /read: %d %s", c.key, status, got)
		}
	}
	down := newBench(t, nil, func(o *promapi.Options) { o.Keys = auth.NewKeys(keys{fail: errors.New("dial 10.1.2.3")}, now) })
	if status, got := down.get("key-1", "/query", nil); status != 503 || strings.Contains(got, "10.1.2.3") {
		t.Errorf("while keys cannot be checked: %d %s", status, got)
	}
}

func TestOurFailuresAreNotTold(t *testing.T) {
	secret := errors.New("pq: no route to 10.1.2.3")
	history := func(err error) *bench {
		b := newBench(t, nil, func(o *promapi.Options) { o.Metadata = metadata(nil) })
		b.history.fail = err
		return b
	}
	written := newBench(t, nil, func(o *promapi.Options) {
		o.Stored = func(tenant.OrgID) storage.Queryable { return (&stored{fail: secret}).queryable() }
	})
	horizon := newBench(t, nil, nil)
	for name, b := range map[string]*bench{"history": history(secret), "stored": written} {
		for _, path := range []string{
			"/query?query=tokiflow_monitor_up", "/query?query=sum(rate(tokiflow_monitor_runs_total[5m]))", "/series?match[]=tokiflow_monitor_info",
			"/labels", "/label/monitor/values",
		} {
			status, got := b.get("key-1", path, nil)
			if status != 500 || strings.Contains(got, "10.1.2.3") || !strings.Contains(got, `"errorType":"internal"`) {
				t.Errorf("%s %s: %d %s", name, path, status, got)
			}
		}
	}
	if status, got := history(nil).get("key-1", "/metadata", nil); status != 500 || strings.Contains(got, "10.1.2.3") {
		t.Errorf("metadata: %d %s", status, got)
	}
	tooMuch := newBench(t, nil, func(o *promapi.Options) {
		o.Stored = func(tenant.OrgID) storage.Queryable { return (&stored{fail: secret}).queryable() }
		o.Limited = func(err error) bool { return errors.Is(err, secret) }
	})
	if status, got := tooMuch.get("key-1", "/query?query=load", nil); status != 422 || !strings.Contains(got, secret.Error()) {
		t.Errorf("a limit of the stored series: %d %s", status, got)
	}
	if _, err := history(secret).api.Query(t.Context(), org(1), "tokiflow_monitor_up", now()); err == nil || strings.Contains(err.Error(), "10.1.2.3") {
		t.Errorf("to rules: %v", err)
	}
	if status, got := history(fault.New(fault.Unavailable, "the database cannot be reached")).get("key-1", "/query?query=tokiflow_monitor_up", nil); status != 503 ||
		!strings.Contains(got, "the database cannot be reached") {
		t.Errorf("unavailable: %d %s", status, got)
	}
	if status, _ := horizon.get("key-1", "/query?query=tokiflow_monitor_up", nil); status != 200 {
		t.Errorf("no monitors: %d", status)
	}
}

func TestBuildInfoAndProbes(t *testing.T) {
	b := newBench(t, nil, nil)
	_, got := b.get("key-1", "/status/buildinfo", nil)
	var v struct {
		Data map[string]string `json:"data"`
	}
	if err := json.Unmarshal([]byte(got), &v); err != nil || v.Data["version"] != "3.16.0" || v.Data["revision"] != "test" || v.Data["goVersion"] == "" {
		t.Errorf("%s: %v", got, err)
	}
	for _, path := range []string{"/prometheus/-/healthy", "/prometheus/-/ready"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := b.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || !strings.HasPrefix(string(got), "Tokiflow is ") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, got)
		}
		_ = resp.Body.Close()
	}
}

func TestLongAnswersArePacked(t *testing.T) {
	b := newBench(t, lives(born(1, "a", ago("48h"))), nil)
	ask := func(encoding string) (http.Header, []byte) {
		u := b.server.URL + "/prometheus/api/v1/query_range?query=tokiflow_monitor_status&start=1795348800&end=1795435200&step=60"
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", encoding)
		req.Header.Set("X-Api-Key", "key-1")
		resp, err := b.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.Header, body
	}
	header, packed := ask("deflate;q=0.5, gzip;q=1.0")
	if header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("not packed: %v", header)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	header, want := ask("gzip;q=0")
	if header.Get("Content-Encoding") != "" {
		t.Fatalf("packed: %v", header)
	}
	if string(got) != string(want) || !json.Valid(got) || len(got) < 5*1441*15 {
		t.Errorf("packed and plain differ, or are no JSON: %d and %d bytes", len(got), len(want))
	}
}

func TestStatsAndMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := newBench(t, lives(born(1, "a", ago("48h"))), func(o *promapi.Options) { o.Registerer = reg })
	_, got := b.get("key-1", "/query?query=tokiflow_monitor_up&stats=true", nil)
	if !strings.Contains(got, `"stats":{"timings":{`) || !strings.Contains(got, `"totalQueryableSamples":1`) {
		t.Errorf("no statistics: %s", got)
	}
	b.get("key-1", "/query?query=", nil)
	if b.api.Engine() == nil {
		t.Error("no engine")
	}
	want := `# HELP tokiflow_promql_requests_total Requests to the Prometheus API, by endpoint and HTTP status. Many 422 or 503: queries meet their limits; the slow ones are in the log.
# TYPE tokiflow_promql_requests_total counter
tokiflow_promql_requests_total{endpoint="/query",status="200"} 1
tokiflow_promql_requests_total{endpoint="/query",status="400"} 1
`
	b.server.Close() // waits for the handlers
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "tokiflow_promql_requests_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestWrittenMetadataComesBesideOurs(t *testing.T) {
	b := newBench(t, nil, func(o *promapi.Options) {
		o.Metadata = metadata{org(1): {"tokiflow_monitor_up": {series.Metadata{Name: "tokiflow_monitor_up", Type: "gauge", Help: "scraped"}}}}
	})
	_, got := b.get("key-1", "/metadata?metric=tokiflow_monitor_up", nil)
	if strings.Count(got, `"type":"gauge"`) != 2 {
		t.Errorf("%s", got)
	}
	_, got = b.get("key-2", "/metadata?metric=tokiflow_monitor_up", nil)
	if strings.Contains(got, "scraped") {
		t.Errorf("another organisation's: %s", got)
	}
	_, got = b.get("key-2", "/metadata?limit=3", nil)
	if strings.Count(got, `"help"`) != 3 {
		t.Errorf("%s", got)
	}
}
