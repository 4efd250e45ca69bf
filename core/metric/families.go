package metric

import (
	"strconv"
	"strings"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// The names that others need.
const (
	InfoName     = "tokiflow_monitor_info"
	DurationName = "tokiflow_monitor_run_duration_seconds"
)

// The classic buckets of run durations: 2^-4, 2^-2 and 2^0 to 2^16 seconds (62.5 ms to 18 h). Powers of two, because those
// are boundaries of the native buckets as well, so the one histogram is read off the other.
func classicBuckets() []int {
	b := []int{-4, -2}
	for i := range 17 {
		b = append(b, i)
	}
	return b
}

// Statuses are the statuses of a monitor in the order in which they are exposed.
func Statuses() []monitor.Status {
	return []monitor.Status{monitor.New, monitor.Up, monitor.Late, monitor.Down, monitor.Paused}
}

// Kinds are the kinds of incidents in the order in which they are exposed.
func Kinds() []incident.Kind {
	return []incident.Kind{incident.Missed, incident.Late, incident.Fail, incident.Overrun, incident.Anomaly}
}

// Families are all that is exposed of a monitor, in order. The caller may keep and must not change them.
func Families() []Family {
	return []Family{
		{Name: InfoName, Type: Info, Help: "What people call a monitor, always 1. Join it by id: tokiflow_monitor_up * on (id) group_left (monitor, project) tokiflow_monitor_info."},
		gauge("tokiflow_monitor_up", "", "0 while the monitor is down, else 1. A late monitor is up: its deadline has not passed.", func(p *Point) (Line, bool) {
			return constant(truth(p.Status != monitor.Down)), true
		}),
		status(),
		gauge("tokiflow_monitor_last_ping_timestamp_seconds", "seconds", "When the last ping came, that was not a note. Absent before the first.", func(p *Point) (Line, bool) { return instant(p.LastPing) }),
		gauge("tokiflow_monitor_last_success_timestamp_seconds", "seconds", "When a run last succeeded. Absent before the first.", func(p *Point) (Line, bool) { return instant(p.LastSuccess) }),
		gauge("tokiflow_monitor_last_run_duration_seconds", "seconds", "How long the last run took of which that is known.", func(p *Point) (Line, bool) {
			return constant(p.LastDuration.Seconds()), p.Totals != nil && p.Totals.Durations.Count > 0
		}),
		gauge("tokiflow_monitor_due_timestamp_seconds", "seconds", "When the next run is due, or the missed one was. Absent while nothing is expected.", func(p *Point) (Line, bool) { return instant(p.Due) }),
		gauge("tokiflow_monitor_deadline_timestamp_seconds", "seconds", "When the next run is missed, or the missed one was: due and grace. Absent while nothing is expected.", func(p *Point) (Line, bool) { return instant(p.Deadline) }),
		runs(),
		durations(),
		gauge("tokiflow_monitor_open_runs", "", "Runs that were started and have not finished.", func(p *Point) (Line, bool) {
			return constant(float64(p.OpenRuns)), true
		}),
		incidents(),
		gauge("tokiflow_monitor_anomaly_z_score", "", "How many standard deviations the last run's duration lay from the mean, 0 where it was not judged. Absent before the first duration.", func(p *Point) (Line, bool) {
			return constant(p.ZScore), p.Totals != nil && p.Totals.Durations.Count > 0
		}),
		gauge("tokiflow_monitor_mtbf_seconds", "seconds", "Mean time between failures since the monitor was made: time up, by changes to down. Absent before the first.", func(p *Point) (Line, bool) {
			up, _ := observed(p)
			return ratio(up, steady(outages(p)))
		}),
		gauge("tokiflow_monitor_mttr_seconds", "seconds", "Mean time to recovery since the monitor was made: time down, by recoveries. Absent before the first.", func(p *Point) (Line, bool) {
			_, down := observed(p)
			return ratio(down, steady(recoveries(p)))
		}),
		gauge("tokiflow_monitor_uptime_ratio", "", "Time up by time up and down, since the monitor was made. For a window, take avg_over_time of tokiflow_monitor_up.", func(p *Point) (Line, bool) {
			up, down := observed(p)
			return ratio(up, Line{At: p.At, Num: up.Num + down.Num, NumRate: up.NumRate + down.NumRate})
		}),
	}
}

func gauge(name, unit, help string, line func(p *Point) (Line, bool)) Family {
	return Family{Name: name, Type: Gauge, Unit: unit, Help: help, Series: []Series{{Line: line}}}
}

func status() Family {
	f := Family{Name: "tokiflow_monitor_status", Type: StateSet, Help: "1 at the status that the monitor has, 0 at the others."}
	for _, s := range Statuses() {
		f.Series = append(f.Series, Series{Label: "status", Value: string(s), Line: func(p *Point) (Line, bool) {
			return constant(truth(p.Status == s)), true
		}})
	}
	return f
}

func runs() Family {
	f := Family{Name: "tokiflow_monitor_runs_total", Type: Counter, Help: "Runs by how they ended: success, fail, missed (never came), abandoned (another took its place), unknown (its end may have fallen into a gap)."}
	for _, o := range []struct {
		outcome monitor.Outcome
		count   func(t *monitor.Totals) int64
	}{
		{monitor.Succeeded, func(t *monitor.Totals) int64 { return t.Succeeded }},
		{monitor.Failed, func(t *monitor.Totals) int64 { return t.Failed }},
		{monitor.Missed, func(t *monitor.Totals) int64 { return t.Missed }},
		{monitor.Abandoned, func(t *monitor.Totals) int64 { return t.Abandoned }},
		{monitor.Unknown, func(t *monitor.Totals) int64 { return t.Unknown }},
	} {
		f.Series = append(f.Series, Series{Label: "outcome", Value: string(o.outcome), Line: total(o.count)})
	}
	return f
}

// durations is the classic histogram. Who can take a native one reads it off the totals (monitor.Histogram).
func durations() Family {
	f := Family{Name: DurationName, Type: Histogram, Unit: "seconds", Help: "How long runs took of which that is known."}
	for _, b := range classicBuckets() {
		f.Series = append(f.Series, Series{
			Suffix: "_bucket", Label: "le", Value: FormatFloat(monitor.BucketBound(int32(8 * b))),
			Line: total(func(t *monitor.Totals) int64 { return t.Durations.AtMost(b) }),
		})
	}
	return Family{Name: f.Name, Type: f.Type, Unit: f.Unit, Help: f.Help, Series: append(f.Series,
		Series{Suffix: "_bucket", Label: "le", Value: "+Inf", Line: total(func(t *monitor.Totals) int64 { return t.Durations.Count })},
		Series{Suffix: "_sum", Line: func(p *Point) (Line, bool) {
			if p.Totals == nil {
				return constant(0), true
			}
			return constant(p.Totals.Durations.Sum.Seconds()), true
		}},
		Series{Suffix: "_count", Line: total(func(t *monitor.Totals) int64 { return t.Durations.Count })},
	)}
}

func incidents() Family {
	f := Family{Name: "tokiflow_monitor_incidents_open", Type: Gauge, Help: "Open incidents by kind, acknowledged ones too."}
	for _, k := range Kinds() {
		f.Series = append(f.Series, Series{Label: "kind", Value: string(k), Line: func(p *Point) (Line, bool) {
			return constant(truth(p.Open[k])), true
		}})
	}
	return f
}

func total(count func(t *monitor.Totals) int64) func(p *Point) (Line, bool) {
	return func(p *Point) (Line, bool) {
		if p.Totals == nil {
			return constant(0), true
		}
		return constant(float64(count(p.Totals))), true
	}
}

// observed is the time up and down until p, gaps left out, and how fast each grows.
func observed(p *Point) (up, down Line) {
	up, down = Line{At: p.At}, Line{At: p.At}
	if p.Totals != nil {
		up.Num, down.Num = p.Totals.UpTime.Seconds(), p.Totals.DownTime.Seconds()
	}
	now := max(0, p.At.Sub(p.Since).Seconds()-p.GapSeconds)
	switch p.Status {
	case monitor.Up, monitor.Late:
		up.Num, up.NumRate = up.Num+now, 1
	case monitor.Down:
		down.Num, down.NumRate = down.Num+now, 1
	case monitor.New, monitor.Paused:
	}
	return up, down
}

func outages(p *Point) int64 {
	if p.Totals == nil {
		return 0
	}
	return p.Totals.Outages
}

func recoveries(p *Point) int64 {
	if p.Totals == nil {
		return 0
	}
	return p.Totals.Recoveries
}

func steady(n int64) Line { return Line{Num: float64(n)} }

// ratio is a/b; there is none while b is 0.
func ratio(a, b Line) (Line, bool) {
	if b.Num <= 0 {
		return Line{}, false
	}
	return Line{At: a.At, Num: a.Num, NumRate: a.NumRate, Den: b.Num, DenRate: b.NumRate}, true
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// FormatFloat writes a value as Prometheus writes the values of the label le.
func FormatFloat(v float64) string {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	if strings.ContainsAny(s, ".eIN") { // of Inf and NaN too
		return s
	}
	return s + ".0"
}
