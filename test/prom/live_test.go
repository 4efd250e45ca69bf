package prom_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/test/services"
)

// targets are what Prometheus' targets page shows.
func targets(t *testing.T, p *services.PrometheusServer) (up int, faults []string) {
	t.Helper()
	var answer struct {
		Data struct {
			ActiveTargets []struct {
				ScrapeURL string
				Health    string
				LastError string
				Labels    map[string]string
			}
		}
	}
	get(t, p.URL()+"/api/v1/targets", &answer)
	for _, target := range answer.Data.ActiveTargets {
		if target.Health == "up" && target.LastError == "" {
			up++
		}
		if target.LastError != "" {
			faults = append(faults, fmt.Sprintf("%s %v: %s", target.ScrapeURL, target.Labels, target.LastError))
		}
	}
	return up, faults
}

func get(t *testing.T, from string, out any) {
	t.Helper()
	res, err := http.Get(from) //nolint:noctx,gosec // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		t.Fatalf("%s: %v", from, err)
	}
}

// count is how many series a query has in Prometheus.
func count(t *testing.T, p *services.PrometheusServer, q string) int {
	t.Helper()
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	get(t, p.URL()+"/api/v1/query?query="+url.QueryEscape(q), &answer)
	return len(answer.Data.Result)
}

// TestPrometheusFindsAndScrapesTokiflow: by http_sd, with a key, in every form that it may ask for, with native histograms, and
// without a single error in its targets page.
func TestPrometheusFindsAndScrapesTokiflow(t *testing.T) {
	tokiflow := start(t, pgtest.NewURL(t))
	tokiflow.monitor("never pinged")
	id := tokiflow.monitor("backup", "/start", "", "/start", "/1", "/log")
	gone := tokiflow.monitor("gone", "")
	protocols := []string{"PrometheusProto", "OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"}
	var config strings.Builder
	config.WriteString("global: {scrape_interval: 1s}\nscrape_configs:\n")
	for _, protocol := range protocols {
		fmt.Fprintf(&config, `
  - job_name: %[1]s
    scrape_protocols: [%[1]s]
    scrape_native_histograms: true
    always_scrape_classic_histograms: true
    authorization: {credentials: %[2]s}
    http_sd_configs:
      - {url: "%[3]s/sd/prometheus", refresh_interval: 1s, authorization: {credentials: %[2]s}}
`, protocol, testKey, tokiflow.base)
	}
	p := services.Prometheus(t, config.String())
	eventually(t, 90*time.Second, "all targets up, each with the monitors", func() bool {
		up, _ := targets(t, p)
		return up == len(protocols) && count(t, p, "count by (job) (tokiflow_monitor_up == 1 or tokiflow_monitor_up == 0) == 3") == len(protocols)
	})
	tokiflow.call(http.MethodDelete, "/api/v1/monitors/"+gone, nil, nil)
	eventually(t, 90*time.Second, "a deleted monitor's series end", func() bool {
		return count(t, p, fmt.Sprintf(`tokiflow_monitor_up{id=%q}`, gone)) == 0
	})
	// Whatever was ever wrong would show: a scrape that failed has up 0.
	for until := time.Now().Add(15 * time.Second); time.Now().Before(until); time.Sleep(time.Second) {
		if _, faults := targets(t, p); len(faults) > 0 {
			t.Fatalf("targets page: %s", strings.Join(faults, "\n"))
		}
	}
	if n := count(t, p, "min_over_time(up[5m]) < 1"); n > 0 {
		t.Errorf("%d targets had failed scrapes", n)
	}
	if n := count(t, p, fmt.Sprintf(`histogram_count(tokiflow_monitor_run_duration_seconds{id=%q, job="PrometheusProto"})`, id)); n != 1 {
		t.Errorf("native histograms: %d series", n)
	}
	want := count(t, p, fmt.Sprintf(`{__name__=~"tokiflow_monitor_.*", id=%q, job="PrometheusText0.0.4"}`, id))
	for _, protocol := range protocols {
		q := fmt.Sprintf(`{__name__=~"tokiflow_monitor_.*", __name__!="tokiflow_monitor_run_duration_seconds", id=%q, job=%q}`, id, protocol)
		if n := count(t, p, q); n != want || n < 40 {
			t.Errorf("by %s come %d series of a monitor, want %d", protocol, n, want)
		}
	}
	noKey := services.Prometheus(t, strings.ReplaceAll(config.String(), testKey, "wrong"))
	failures := regexp.MustCompile(`prometheus_sd_http_failures_total(\{[^}]*\})? [1-9]`)
	eventually(t, time.Minute, "a Prometheus with a wrong key is refused", func() bool {
		res, err := http.Get(noKey.URL() + "/metrics") //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		page, err := io.ReadAll(res.Body)
		return err == nil && failures.Match(page)
	})
	if n, _ := targets(t, noKey); n > 0 {
		t.Errorf("a wrong key finds %d targets", n)
	}
}

// TestForwardingToARealPrometheus: what is forwarded is there, sample by sample as PromQL shows it here.
func TestForwardingToARealPrometheus(t *testing.T) {
	p := services.Prometheus(t, "global: {}\n", "--web.enable-remote-write-receiver")
	tokiflow := start(t, pgtest.NewURL(t))
	id := tokiflow.monitor("backup", "/start", "", "/start", "/1")
	tokiflow.call(http.MethodPut, "/api/v1/forwards/home", map[string]any{
		"kind": "remote_write", "url": p.URL() + "/api/v1/write", "interval": "15s", "external_labels": map[string]string{"source": "tokiflow"},
	}, nil)
	q := fmt.Sprintf(`{__name__=~"tokiflow_monitor_.+", id=%q}`, id)
	eventually(t, 2*time.Minute, "three samples of each series", func() bool {
		return count(t, p, `count_over_time(tokiflow_monitor_up{source="tokiflow"}[10m]) >= 3`) == 1
	})
	var status struct {
		Status struct {
			LastError   string  `json:"last_error"`
			SamplesSent float64 `json:"samples_sent"`
			Rejected    float64 `json:"samples_rejected"`
		}
	}
	tokiflow.call(http.MethodGet, "/api/v1/forwards/home", nil, &status)
	if status.Status.LastError != "" || status.Status.Rejected != 0 || status.Status.SamplesSent == 0 {
		t.Errorf("status %+v", status)
	}
	ours := asker{t: t, url: tokiflow.base + "/prometheus/api/v1/"}
	theirs := asker{t: t, url: p.URL() + "/api/v1/"}
	at := time.Now()
	want := ours.ask("query", url.Values{"query": {q + "[10m]"}, "time": {seconds(at)}})
	got := theirs.ask("query", url.Values{"query": {q + "[10m]"}, "time": {seconds(at)}})
	if len(got) < 40 || len(got) != len(want) {
		t.Errorf("%d series came, there are %d", len(got), len(want))
	}
	for name, samples := range got {
		here := want[strings.Replace(name, " source:tokiflow", "", 1)]
		instants := make([]int64, 0, len(samples))
		for at, v := range samples {
			instants = append(instants, at)
			if !within(v, []string{here[at]}) { // a ratio is reckoned from where the window begins: its last digit may differ
				t.Errorf("%s at %d: %s there, %s here", name, at, v, here[at])
			}
		}
		slices.Sort(instants)
		for i := range instants[1:] {
			if instants[i+1]-instants[i] != grid.Milliseconds() {
				t.Errorf("%s has a gap between %d and %d", name, instants[i], instants[i+1])
			}
		}
	}
}
