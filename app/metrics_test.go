package app_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/app"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// metrics is what the process says of itself.
func (p *process) metrics() string {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.base+"/metrics", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		p.t.Fatalf("/metrics: %s, %v", res.Status, err)
	}
	return string(text)
}

// TestOwnMetrics: what a process with all roles says of itself is well named, explained, and on its page.
func TestOwnMetrics(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	o := options(t, pgtest.NewURL(t))
	o.Roles = app.AllRoles()
	p := start(t, o)
	m := p.create("nightly", "1h", "1m")
	p.ping(m.PingURL)
	// Everything has been read by every consumer, and all figures taken.
	want := []string{
		`tokiflow_evaluator_monitors{status="up"} 1`, `tokiflow_evaluator_incidents_open{kind="missed"} 0`, `tokiflow_organisations 1`,
		`tokiflow_outbox_messages 0`, `tokiflow_log_unread_records{consumer="evaluator",partition="0"}`,
		`tokiflow_log_unread_records{consumer="tsdb",partition="0"}`, `tokiflow_evaluator_watermark_lag_seconds{partition="0"}`,
		`tokiflow_pings_total{result="ok"} 1`,
	}
	var body string
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		body = p.metrics()
		missing := ""
		for _, line := range want {
			if !strings.Contains(body, "\n"+line) {
				missing = line
			}
		}
		if missing == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is missing in\n%s", missing, body)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name := range families {
		if strings.HasPrefix(name, "tokiflow_") && !bytes.Contains(page, []byte("| `"+name)) {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
}
