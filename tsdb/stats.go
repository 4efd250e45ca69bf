package tsdb

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// MonitorStats computes the figures of the window for each of the monitors, or for all of the organisation if none is named.
// A monitor without any history in the window is left out. The window must not reach beyond now: the time up to its end
// counts as what the status now is.
//
// Up and down times are sums over the spans between changes of status, clipped to the window and without the gaps in which
// pings could not be received. late counts as up, for the deadline has not passed; new and paused are not observed. Then
//
//	uptime = up / (up + down)      steady-state availability, IEC 60050-192:2015, 192-08-07
//	MTBF   = up / failures         mean operating time between failures, 192-05-13, over the time observed
//	MTTR   = down / recoveries     mean time to restoration, 192-07-23; a pause of a monitor that is down ends its outage
//
// where failures are the changes to down and recoveries those from it within the window. A ratio without a denominator
// is nil. The standard deviation is the sample's; it is made of Σx and Σx², so it is good to about 1e-8 of the mean.
// Quantiles are within 2.44 % of the value of that rank, and within minimum and maximum.
func (r *Reader) MonitorStats(ctx context.Context, org tenant.OrgID, w history.Window, monitors ...uuid.UUID) (map[uuid.UUID]history.Stats, error) {
	all, err := r.tallies(ctx, org, w, monitors)
	if err != nil {
		return nil, err
	}
	return statsOf(all, w), nil
}

// OrganisationStats computes the figures of the window over all monitors of the organisation together, as MonitorStats does
// for each: sums are added up, ratios are made of the sums, and quantiles are those of all runs.
func (r *Reader) OrganisationStats(ctx context.Context, org tenant.OrgID, w history.Window) (history.Stats, error) {
	all, err := r.tallies(ctx, org, w, nil)
	if err != nil {
		return history.Stats{}, err
	}
	return summedUp(all, w), nil
}

// statsOf makes the figures of each monitor of which something is known.
func statsOf(all map[uuid.UUID]*tally, w history.Window) map[uuid.UUID]history.Stats {
	stats := make(map[uuid.UUID]history.Stats, len(all))
	var h histogram
	for id, t := range all {
		if t.any() {
			stats[id] = t.stats(w, &h)
		}
	}
	return stats
}

// summedUp makes one of the figures of all monitors.
func summedUp(all map[uuid.UUID]*tally, w history.Window) history.Stats {
	var sum tally
	monitors := 0
	for _, t := range all {
		if t.any() {
			monitors++
			sum.add(t)
		}
	}
	var h histogram
	s := sum.stats(w, &h)
	s.Monitors = monitors
	return s
}

// tallies reads what there is to add up: of runs and of availability, at the same time.
func (r *Reader) tallies(ctx context.Context, org tenant.OrgID, w history.Window, monitors []uuid.UUID) (map[uuid.UUID]*tally, error) {
	if w.From.IsZero() || !w.From.Before(w.To) {
		return nil, fmt.Errorf("read stats: the window from %v to %v is none", w.From, w.To)
	}
	q := statsQuery{org: org, window: w, monitors: monitors}
	all, available := tallyMap{}, tallyMap{}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := q.read(ctx, r.pool, all, q.readRuns); err != nil {
			return fmt.Errorf("read stats of runs: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		if err := q.read(ctx, r.pool, available, q.readAvailability); err != nil {
			return fmt.Errorf("read stats of availability: %w", err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for id, t := range available {
		all.of(id).add(t)
	}
	return all, nil
}

// tallyMap holds the tally of each monitor.
type tallyMap map[uuid.UUID]*tally

func (m tallyMap) of(id uuid.UUID) *tally {
	t := m[id]
	if t == nil {
		t = &tally{}
		m[id] = t
	}
	return t
}

// tally is everything of one monitor, or of several, that figures are made of; tallies add up.
type tally struct {
	succeeded, failed, missed, abandoned, unknown int64
	duration, lateness                            moments

	seconds              map[monitor.Status]float64
	failures, recoveries int64
	transitions          int64
}

// moments are the sums of a set of values.
type moments struct {
	n         int64
	sum, sum2 float64
	min, max  float64
	entries   [][]byte // histograms
}

// any reports whether the window holds any history of the monitor.
func (t *tally) any() bool {
	return t.runs() > 0 || t.transitions > 0 || t.up() > 0 || t.down() > 0
}

func (t *tally) runs() int64 { return t.succeeded + t.failed + t.missed + t.abandoned + t.unknown }

func (t *tally) up() float64 { return t.seconds[monitor.Up] + t.seconds[monitor.Late] }

func (t *tally) down() float64 { return t.seconds[monitor.Down] }

// spend adds time in a status. Clipping leaves rounding errors; less than no time is none.
func (t *tally) spend(s monitor.Status, seconds float64) {
	if t.seconds == nil {
		t.seconds = map[monitor.Status]float64{}
	}
	t.seconds[s] = max(t.seconds[s]+seconds, 0)
}

func (t *tally) add(o *tally) {
	t.succeeded += o.succeeded
	t.failed += o.failed
	t.missed += o.missed
	t.abandoned += o.abandoned
	t.unknown += o.unknown
	t.duration.add(&o.duration)
	t.lateness.add(&o.lateness)
	for s, secs := range o.seconds {
		t.spend(s, secs)
	}
	t.failures += o.failures
	t.recoveries += o.recoveries
	t.transitions += o.transitions
}

func (m *moments) add(o *moments) {
	if o.n == 0 {
		return
	}
	if m.n == 0 {
		m.min, m.max = o.min, o.max
	}
	m.n += o.n
	m.sum += o.sum
	m.sum2 += o.sum2
	m.min, m.max = min(m.min, o.min), max(m.max, o.max)
	m.entries = append(m.entries, o.entries...)
}

// stats makes the figures; h is room to work in.
func (t *tally) stats(w history.Window, h *histogram) history.Stats {
	up, down := t.up(), t.down()
	s := history.Stats{
		Window: w, Monitors: 1,
		UpSeconds: up, DownSeconds: down,
		Uptime:   ratio(up, up+down),
		Failures: t.failures, Recoveries: t.recoveries,
		MTBFSeconds: ratio(up, float64(t.failures)),
		MTTRSeconds: ratio(down, float64(t.recoveries)),
		Runs: map[monitor.Outcome]int64{
			monitor.Succeeded: t.succeeded, monitor.Failed: t.failed, monitor.Missed: t.missed,
			monitor.Abandoned: t.abandoned, monitor.Unknown: t.unknown,
		},
		Duration: t.duration.distribution(h),
		Lateness: t.lateness.distribution(h),
	}
	if score := healthScore(t.vitals()); !math.IsNaN(score) {
		s.HealthScore = &score
	}
	return s
}

func (t *tally) vitals() vitals {
	const month = 30 * 24 * 60 * 60 // seconds
	up, down := t.up(), t.down()
	judged := t.succeeded + t.failed + t.missed + t.abandoned
	v := vitals{
		Availability: up / (up + down), // 0/0 is NaN: not known
		Success:      float64(t.succeeded) / float64(judged),
		Lateness:     math.NaN(),
		Failures:     math.NaN(),
	}
	if observed := up + down; observed > 0 {
		v.Failures = float64(t.failures) / observed * month
		if t.lateness.n > 0 {
			v.Lateness = t.lateness.sum / float64(t.lateness.n) / (observed / float64(t.lateness.n))
		}
	}
	return v
}

// distribution describes the values; nil: there are none.
func (m *moments) distribution(h *histogram) *history.Distribution {
	if m.n == 0 {
		return nil
	}
	h.reset()
	for _, e := range m.entries {
		h.addEntries(e)
	}
	n := float64(m.n)
	d := &history.Distribution{Count: m.n, Mean: m.sum / n, Min: m.min, Max: m.max}
	if m.n > 1 {
		d.Stddev = math.Sqrt(max(m.sum2-m.sum*m.sum/n, 0) / (n - 1))
	}
	quantile := func(q float64) float64 { return min(max(h.quantile(q), m.min), m.max) }
	d.P50, d.P95, d.P99 = quantile(0.50), quantile(0.95), quantile(0.99)
	return d
}

func ratio(a, b float64) *float64 {
	if b == 0 {
		return nil
	}
	v := a / b
	return &v
}

// seconds is a span in seconds.
func seconds(d time.Duration) float64 { return d.Seconds() }
