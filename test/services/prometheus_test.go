package services_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/test/services"
)

// value asks Prometheus for an instant vector of one series; "" where there is none.
func value(t *testing.T, p *services.PrometheusServer, query string) string {
	t.Helper()
	res, err := http.Get(p.URL() + "/api/v1/query?query=" + url.QueryEscape(query)) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Data.Result) != 1 {
		return ""
	}
	text, _ := answer.Data.Result[0].Value[1].(string)
	return text
}

func await(t *testing.T, p *services.PrometheusServer, query, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); value(t, p, query) != want; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is %q after a minute, want %q", query, value(t, p, query), want)
		}
	}
}

func TestPrometheusScrapesItselfAndSurvivesBeingKilled(t *testing.T) {
	const config = `
global: {scrape_interval: 200ms, external_labels: {round: "one"}}
scrape_configs:
  - {job_name: itself, static_configs: [{targets: ["ADDRESS"]}]}
`
	p := services.Prometheus(t, "global: {}\n", "--web.enable-remote-write-receiver")
	if value(t, p, "vector(1)") != "1" {
		t.Fatal("it does not answer")
	}
	p.Reload(strings.ReplaceAll(config, "ADDRESS", strings.TrimPrefix(p.URL(), "http://")))
	await(t, p, `up{job="itself"}`, "1")
	at := p.URL()
	p.Kill()
	p.Restart()
	if p.URL() != at {
		t.Errorf("it moved from %s to %s", at, p.URL())
	}
	await(t, p, `count_over_time(up{job="itself"}[5m]) > bool 1`, "1")
}

func TestPromtool(t *testing.T) {
	said, err := services.Promtool(t, []byte("# HELP good_total It counts.\n# TYPE good_total counter\ngood_total 1\n"), "check", "metrics", "--extended")
	if err != nil {
		t.Errorf("%v: %s", err, said)
	}
	said, err = services.Promtool(t, []byte("# TYPE bad counter\nbad 1\n"), "check", "metrics")
	if err == nil || !strings.Contains(said, "bad") {
		t.Errorf("promtool finds nothing wrong: %v %s", err, said)
	}
}
