package remotewrite

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// nodeExporter is a request of 2,000 samples with labels as a node exporter's, scraped by a Prometheus with external labels.
func nodeExporter() []prompb.TimeSeries {
	var s []prompb.TimeSeries
	modes := []string{"idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"}
	for i := range 2000 {
		s = append(s, one(float64(i)*1.37, "__name__", "node_cpu_seconds_total", "cluster", "eu-west-1",
			"cpu", fmt.Sprint(i/8%64), "environment", "production", "instance", fmt.Sprintf("node-%03d.example.com:9100", i/512), "job", "node",
			"mode", modes[i%8], "prometheus", "monitoring/k8s", "team", "platform"))
	}
	return s
}

// discard encodes what it is given, as app does, and drops it.
type discard struct {
	e   record.SamplesEncoder
	rec []byte
}

func (d *discard) AppendSamples(_ context.Context, org tenant.OrgID, s []series.Series, m []series.Metadata) error {
	d.e.Reset()
	for i := range s {
		series.Partition(org, s[i].Labels, 12)
		d.e.Add(&s[i])
	}
	for i := range m {
		d.e.AddMetadata(&m[i])
	}
	d.rec = d.e.AppendRecord(d.rec[:0], org)
	return nil
}

func BenchmarkWrite(b *testing.B) {
	v1, err := (&prompb.WriteRequest{Timeseries: nodeExporter()}).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	v2, err := asV2(b, nodeExporter()).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, contentType string
		body              []byte
		limits            admit.Limits
	}{
		{"1.0", "application/x-protobuf", v1, admit.Limits{}},
		{"2.0", typeV2, v2, admit.Limits{}},
		{"1.0-limited", "application/x-protobuf", v1, admit.Limits{SamplesPerSecond: 1e9, ActiveSeries: 10000}},
	} {
		b.Run(c.name, func(b *testing.B) {
			body := snappy.Encode(nil, c.body)
			h := newHarness(b, func(o *Options) { o.Appender, o.Limiter = &discard{}, admit.NewLimiter(c.limits, now) })
			b.ReportAllocs()
			for b.Loop() {
				if w := h.post(body, "Content-Type", c.contentType); w.Code != http.StatusNoContent {
					b.Fatal(w.Code, w.Body)
				}
			}
			b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
			b.ReportMetric(float64(len(body))/2000, "bytes/sample")
		})
	}
}
