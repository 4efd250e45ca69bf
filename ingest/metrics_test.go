package ingest

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	b := start(t, func(o *Options) { o.Metrics = registry })
	b.post("/ping/"+mainKey, "token=abc token=def").want(t, 200, "OK")
	b.get("/ping/"+mainKey).want(t, 200, "OK")
	b.get("/ping/"+noKey).want(t, 404, "not found")
	b.get("/ping/"+mainKey+"/256").want(t, 400, "invalid url format")
	b.get("/ping/"+mainKey+"?rid=1").want(t, 400, "invalid uuid format")
	b.batch(strings.NewReader(lines(2) + "x")).taken(t)
	b.batch(strings.NewReader("[")).problem(t, 400)
	err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP tokiflow_pings_total Requests to the ping URLs, by how they were answered.
# TYPE tokiflow_pings_total counter
tokiflow_pings_total{result="ambiguous"} 0
tokiflow_pings_total{result="created"} 0
tokiflow_pings_total{result="invalid"} 2
tokiflow_pings_total{result="method"} 0
tokiflow_pings_total{result="not_found"} 1
tokiflow_pings_total{result="ok"} 2
tokiflow_pings_total{result="preflight"} 0
tokiflow_pings_total{result="rate_limited"} 0
tokiflow_pings_total{result="too_large"} 0
tokiflow_pings_total{result="unavailable"} 0
# HELP tokiflow_ping_redactions_total Secrets taken out of ping bodies.
# TYPE tokiflow_ping_redactions_total counter
tokiflow_ping_redactions_total 2
# HELP tokiflow_ping_batches_total Requests to the batch endpoint, by HTTP status.
# TYPE tokiflow_ping_batches_total counter
tokiflow_ping_batches_total{status="200"} 1
tokiflow_ping_batches_total{status="400"} 1
# HELP tokiflow_ping_batch_pings_total Pings in answered batches, accepted and rejected.
# TYPE tokiflow_ping_batch_pings_total counter
tokiflow_ping_batch_pings_total{result="accepted"} 2
tokiflow_ping_batch_pings_total{result="rejected"} 1
# HELP tokiflow_ping_targets Monitors that this process takes pings for.
# TYPE tokiflow_ping_targets gauge
tokiflow_ping_targets 6
# HELP tokiflow_ping_targets_connected 1 while changes of monitors come in, else 0.
# TYPE tokiflow_ping_targets_connected gauge
tokiflow_ping_targets_connected 1
`), "tokiflow_pings_total", "tokiflow_ping_redactions_total", "tokiflow_ping_batches_total", "tokiflow_ping_batch_pings_total",
		"tokiflow_ping_targets", "tokiflow_ping_targets_connected")
	if err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "tokiflow_ping_duration_seconds"); n != 1 || err != nil {
		t.Errorf("%d histograms, %v", n, err)
	}
	if problems, err := testutil.GatherAndLint(registry); len(problems) > 0 || err != nil {
		t.Errorf("%v, %v", problems, err)
	}
	if _, err := New(Options{Appender: new(appender), Partitions: 1, Targets: newSource(), Creator: new(creator), Authenticator: new(authority), Metrics: registry}); err == nil {
		t.Error("a second Ingest registered its metrics with the same registry")
	}
}
