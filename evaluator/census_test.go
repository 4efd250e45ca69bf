package evaluator

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/record"
)

// forgetful is a store that keeps nothing.
type forgetful struct{}

func (forgetful) LoadPartition(_ context.Context, partition, partitions int) (checkpoint.Snapshot, error) {
	return checkpoint.Snapshot{Position: checkpoint.Position{Partition: partition, Partitions: partitions}}, nil
}

func (forgetful) SaveCheckpoint(context.Context, checkpoint.Commit) error { return nil }

// figures are the gauges of a registry, by "name{value of the label}".
func figures(t *testing.T, r *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if g := m.GetGauge(); g != nil && g.GetValue() != 0 {
				out[f.GetName()+"{"+m.GetLabel()[0].GetValue()+"}"] = g.GetValue()
			}
		}
	}
	return out
}

// TestHoldings: what a process shows is what its partitions hold, and nothing of those it has lost.
func TestHoldings(t *testing.T) {
	r := prometheus.NewRegistry()
	now := epoch().Add(10 * time.Minute)
	e, err := New(Options{Store: forgetful{}, Partitions: 2, Registerer: r, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{}
	w.marker(1, epoch(), epoch())
	for n := range 3 {
		w.configure(epoch(), n, 1, nil)
	}
	w.ping(1, epoch().Add(time.Second), 0, record.Success)
	w.ping(1, epoch().Add(2*time.Second), 1, record.Fail)
	w.marker(1, epoch(), epoch().Add(3*time.Second))
	begin := float64(epoch().Unix())
	for n := range 2 {
		if _, err := e.Assigned(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(map[string]float64{}, figures(t, r)); d != "" {
		t.Errorf("at first (-want +got)\n%s", d)
	}
	if err := e.Batch(t.Context(), 0, w.log, true); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"tokiflow_evaluator_monitors{new}": 1, "tokiflow_evaluator_monitors{up}": 1, "tokiflow_evaluator_monitors{down}": 1,
		"tokiflow_evaluator_incidents_open{fail}":        1,
		"tokiflow_evaluator_judged_timestamp_seconds{0}": begin + 3,
		"tokiflow_evaluator_watermark_lag_seconds{0}":    597,
	}
	if d := cmp.Diff(want, figures(t, r)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}

	// Time goes on: one is missed and another deleted.
	first := len(w.log)
	w.append(1, epoch().Add(4*time.Second), record.AppendControl(nil, &record.Control{Org: org(), Monitor: monitorID(1), Action: record.Delete, Version: 2}))
	w.marker(1, epoch(), epoch().Add(5*time.Minute))
	if err := e.Batch(t.Context(), 0, w.log[first:], true); err != nil {
		t.Fatal(err)
	}
	want = map[string]float64{
		"tokiflow_evaluator_monitors{new}": 1, "tokiflow_evaluator_monitors{down}": 1,
		"tokiflow_evaluator_incidents_open{missed}":      1,
		"tokiflow_evaluator_judged_timestamp_seconds{0}": begin + 300,
		"tokiflow_evaluator_watermark_lag_seconds{0}":    300,
	}
	if d := cmp.Diff(want, figures(t, r)); d != "" {
		t.Errorf("later (-want +got)\n%s", d)
	}
	e.Revoked(0)
	if d := cmp.Diff(map[string]float64{}, figures(t, r)); d != "" {
		t.Errorf("another has the partition (-want +got)\n%s", d)
	}
}

// TestIdleCheckpoints: where nothing happens the offset, and with it the watermark that others read, is written every 2 s.
func TestIdleCheckpoints(t *testing.T) {
	now := epoch()
	s := &counting{}
	e, err := New(Options{Store: s, Partitions: 1, Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Assigned(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	w := &writer{}
	for n := range 60 {
		now = now.Add(time.Second)
		w.marker(1, epoch(), now)
		if err := e.Batch(t.Context(), 0, w.log[n:], true); err != nil {
			t.Fatal(err)
		}
	}
	if s.saved != 30 {
		t.Errorf("%d checkpoints in a minute, want 30", s.saved)
	}
}

type counting struct {
	forgetful
	saved int
}

func (c *counting) SaveCheckpoint(context.Context, checkpoint.Commit) error {
	c.saved++
	return nil
}
