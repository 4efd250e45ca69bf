package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/memlog"
)

// sampleReader keeps what it reads of a log.
type sampleReader struct {
	mu    sync.Mutex
	parts map[int][]record.Samples
	sizes []int
	ends  map[int]bool
	all   chan struct{} // closed when every partition is read
	n     int
}

func (r *sampleReader) Assigned(context.Context, int) (int64, error) { return 0, nil }
func (r *sampleReader) Revoked(int)                                  {}

func (r *sampleReader) Batch(_ context.Context, partition int, recs []record.Entry, atEnd bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range recs {
		s, err := record.ParseSamples(e.Value)
		if err != nil {
			return err
		}
		r.parts[partition] = append(r.parts[partition], s)
		r.sizes = append(r.sizes, len(e.Value))
	}
	if atEnd && !r.ends[partition] {
		if r.ends[partition] = true; len(r.ends) == r.n {
			close(r.all)
		}
	}
	return nil
}

// readAll reads a log to its end.
func readAll(t *testing.T, l eventlog.Log) *sampleReader {
	t.Helper()
	r := &sampleReader{parts: map[int][]record.Samples{}, ends: map[int]bool{}, all: make(chan struct{}), n: l.Partitions()}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Consume(ctx, "test", r) }()
	select {
	case <-r.all:
	case <-ctx.Done():
		t.Error("the log was not read to its end")
	}
	cancel()
	<-done
	return r
}

func someOrg(n byte) tenant.OrgID { return tenant.OrgID{UUID: uuid.UUID{15: n}} }

func named(name string, floats ...series.Float) series.Series {
	return series.Series{Labels: []series.Label{{Name: "__name__", Value: name}}, Floats: floats}
}

// TestSamplesGoToTheirPartitions: each series, and each metric's description, always to the same one.
func TestSamplesGoToTheirPartitions(t *testing.T) {
	l := memlog.New(4, nil)
	s := newSampleLog(l, eventlog.AppenderOptions{})
	var wg sync.WaitGroup
	for round := range 5 {
		for n := byte(1); n <= 2; n++ {
			wg.Go(func() {
				var list []series.Series
				var about []series.Metadata
				for i := range 200 {
					name := fmt.Sprint("m", i)
					list = append(list, named(name, series.Float{At: int64(round), Value: float64(n)}))
					about = append(about, series.Metadata{Name: name, Type: "gauge"})
				}
				if err := s.AppendSamples(t.Context(), someOrg(n), list, about); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	count := 0
	for partition, recs := range readAll(t, l).parts {
		for _, rec := range recs {
			for _, one := range rec.Series {
				count++
				if p := series.Partition(rec.Org, one.Labels, 4); p != partition || one.Floats[0].Value != float64(rec.Org.UUID[15]) {
					t.Errorf("%v of %v is in partition %d, not %d", one, rec.Org, partition, p)
				}
			}
			for _, m := range rec.Metadata {
				if p := series.Partition(rec.Org, named(m.Name).Labels, 4); p != partition {
					t.Errorf("%s is described in partition %d, not %d", m.Name, partition, p)
				}
			}
		}
	}
	if count != 2000 {
		t.Errorf("%d series came through, not 2000", count)
	}
}

// TestSamplesAreCut: no record is bigger than it may be, however much comes at once, and nothing is lost at a cut.
func TestSamplesAreCut(t *testing.T) {
	l := memlog.New(1, nil)
	s := newSampleLog(l, eventlog.AppenderOptions{})
	var list []series.Series
	for i := range 30_000 {
		list = append(list, named(fmt.Sprintf("a_metric_with_quite_a_long_name_so_that_it_adds_up_%d", i), series.Float{At: 1, Value: float64(i) * 1.1}))
	}
	long := named("long")
	for i := range 100_000 {
		long.Floats = append(long.Floats, series.Float{At: int64(i) * 15000, Value: float64(i) * 1.7})
	}
	wide := named("wide")
	for i := range 100 {
		wide.Histograms = append(wide.Histograms, series.Histogram{At: int64(i), Data: make([]byte, 100<<10)})
	}
	list = append(list, long, wide, named("last", series.Float{At: 5, Value: 5}))
	if err := s.AppendSamples(t.Context(), someOrg(1), list, nil); err != nil {
		t.Fatal(err)
	}
	r := readAll(t, l)
	got := map[string]series.Series{}
	for _, rec := range r.parts[0] {
		var e record.SamplesEncoder
		for _, one := range rec.Series {
			e.Add(&one)
			name := one.Labels[0].Value
			whole := got[name]
			whole.Labels = one.Labels
			whole.Floats = append(whole.Floats, one.Floats...)
			whole.Histograms = append(whole.Histograms, one.Histograms...)
			got[name] = whole
		}
		if e.Size() > 2*sampleRecordBytes {
			t.Errorf("a record of %d bytes", e.Size())
		}
	}
	for _, want := range list {
		have := got[want.Labels[0].Value]
		if !slices.Equal(want.Floats, have.Floats) || len(want.Histograms) != len(have.Histograms) {
			t.Fatalf("%v came back with %d floats and %d histograms", want.Labels, len(have.Floats), len(have.Histograms))
		}
	}
	if len(r.parts[0]) < 10 {
		t.Errorf("only %d records", len(r.parts[0]))
	}
}

// TestSamplesUnavailable: nobody is told that samples are durable while they are not.
func TestSamplesUnavailable(t *testing.T) {
	l := memlog.New(2, nil)
	s := newSampleLog(l, eventlog.AppenderOptions{AppendTimeout: 50 * time.Millisecond})
	l.Fail(errors.New("disk full"))
	if err := s.AppendSamples(t.Context(), someOrg(1), []series.Series{named("a", series.Float{})}, nil); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	l.Fail(nil)
	if err := s.AppendSamples(t.Context(), someOrg(1), []series.Series{named("a", series.Float{})}, nil); err != nil {
		t.Error(err)
	}
	if err := s.AppendSamples(t.Context(), someOrg(1), nil, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.AppendSamples(ctx, someOrg(1), []series.Series{named("a", series.Float{})}, nil); !errors.Is(err, eventlog.ErrUnavailable) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestOpenSamples: the log of samples is a folder of its own, and closed with the rest.
func TestOpenSamples(t *testing.T) {
	dir := t.TempDir()
	for round := 1; round <= 2; round++ {
		a := &App{o: Options{DataDir: dir, LogPartitions: 2}, log: slog.New(slog.DiscardHandler), registry: prometheus.NewRegistry()}
		a.appends = newAppendMetrics(a.registry)
		s, err := a.openSamples(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AppendSamples(t.Context(), someOrg(1), []series.Series{named("a", series.Float{At: int64(round)})}, nil); err != nil {
			t.Fatal(err)
		}
		p := series.Partition(someOrg(1), named("a").Labels, 2)
		if end, err := s.log.End(t.Context(), p); err != nil || end != int64(round) {
			t.Errorf("round %d: the log ends at %d, %v", round, end, err)
		}
		if err := a.stop(); err != nil {
			t.Error(err)
		}
	}
	if found, err := filepath.Glob(filepath.Join(dir, "log-samples", "*")); err != nil || len(found) == 0 {
		t.Errorf("%v, %v", found, err)
	}
}

func BenchmarkAppendSamples(b *testing.B) {
	l := memlog.New(8, nil)
	s := newSampleLog(l, eventlog.AppenderOptions{})
	var list []series.Series
	for i := range 2000 {
		list = append(list, series.Series{
			Labels: []series.Label{{Name: "__name__", Value: "node_cpu_seconds_total"}, {Name: "cpu", Value: fmt.Sprint(i)}, {Name: "instance", Value: "node-1:9100"}, {Name: "job", Value: "node"}},
			Floats: []series.Float{{At: 1763845200000, Value: float64(i) * 1.37}},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.AppendSamples(context.Background(), someOrg(1), list, nil); err != nil {
			b.Fatal(err)
		}
		for p := range 8 {
			if err := l.Trim(context.Background(), p, 1<<40); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(2000*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
}
