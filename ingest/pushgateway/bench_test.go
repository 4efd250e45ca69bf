package pushgateway

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// discard encodes what it is given and drops it.
type discard struct{ samples int }

func (d *discard) AppendSamples(_ context.Context, org tenant.OrgID, s []series.Series, m []series.Metadata) error {
	_ = record.AppendSamples(nil, org, s, m)
	for i := range s {
		d.samples += len(s[i].Floats)
	}
	return nil
}

// pushed is a body of twenty series.
func pushed() string {
	var b strings.Builder
	for i := range 20 {
		fmt.Fprintf(&b, "# TYPE metric_%d gauge\nmetric_%d{path=\"/var/tmp\"} %d.5\n", i, i, i)
	}
	return b.String()
}

func push1(b *testing.B, h *harness, path, body string) {
	r := httptest.NewRequest(http.MethodPut, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer k1")
	w := httptest.NewRecorder()
	h.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		b.Fatal(w.Code, w.Body)
	}
}

// BenchmarkPush pushes to one group again and again, and with 10,000 others there; and has all of them stand for another minute.
func BenchmarkPush(b *testing.B) {
	d := &discard{}
	h := newHarness(b, func(o *Options) { o.Appender, o.Clock = d, time.Now })
	body := pushed()
	b.Run("one-group", func(b *testing.B) {
		for b.Loop() {
			push1(b, h, job, body)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pushes/s")
	})
	for i := range 10_000 {
		push1(b, h, fmt.Sprintf("/push/metrics/job/backup/instance/host-%d", i), body)
	}
	b.Run("one-of-10000", func(b *testing.B) {
		n := 0
		for b.Loop() {
			push1(b, h, fmt.Sprintf("/push/metrics/job/backup/instance/host-%d", n*7919%10_000), body)
			n++
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pushes/s")
	})
	b.Run("beat-of-10000", func(b *testing.B) {
		d.samples = 0
		at := time.Now()
		for b.Loop() {
			at = at.Add(time.Minute)
			var c series.GroupCursor
			for more := true; more; {
				var err error
				more, err = h.store.BeatPushGroups(context.Background(), at, &c, page, func(groups []series.Group) error {
					return h.gateway.repeat(context.Background(), groups, at)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(d.samples)/b.Elapsed().Seconds(), "samples/s")
	})
}
