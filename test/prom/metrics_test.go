package prom_test

import (
	"net/http"
	"testing"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/test/services"
)

// TestPromtoolFindsNothingWrongWithWhatIsExposed asks the linter of Prometheus' own people: names, units, help, types.
func TestPromtoolFindsNothingWrongWithWhatIsExposed(t *testing.T) {
	p := start(t, pgtest.NewURL(t))
	p.monitor("never pinged")
	p.monitor("backup", "/start", "", "/start", "/1", "/log")
	for _, path := range []string{"/metrics", "/metrics/monitors"} {
		t.Run(path, func(t *testing.T) {
			status, header, text := p.send(http.MethodGet, path, nil, "text/plain")
			if status != http.StatusOK || len(text) == 0 {
				t.Fatalf("%d: %s", status, text)
			}
			if ct := header.Get("Content-Type"); ct == "" {
				t.Error("no content type")
			}
			if said, err := services.Promtool(t, text, "check", "metrics", "--extended"); err != nil {
				t.Errorf("%v\n%s", err, said)
			} else {
				t.Logf("promtool says:\n%.2000s", said)
			}
		})
	}
}
