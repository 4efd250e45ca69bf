package metric_test

import (
	"fmt"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/series"
)

func at(s int) time.Time { return time.Unix(1_700_000_000+int64(s), 0).UTC() }

// values are those of a point's samples at t, by "name{label}"; bucket bounds are left out.
func values(p *metric.Point, t time.Time) map[string]float64 {
	out := map[string]float64{}
	families := metric.Families()
	for i := range families {
		for _, s := range families[i].Series {
			if l, ok := s.Line(p); ok && (s.Label != "le" || s.Value == "+Inf" || s.Value == "1.0") {
				name := families[i].Name + s.Suffix
				if s.Label != "" {
					name += fmt.Sprintf("{%s=%q}", s.Label, s.Value)
				}
				out[name] = l.Value(t)
			}
		}
	}
	return out
}

// want is a monitor of which nothing is known but the status, and what is different.
func want(status monitor.Status, different map[string]float64) map[string]float64 {
	out := map[string]float64{
		"tokiflow_monitor_up": 1, "tokiflow_monitor_open_runs": 0,
		`tokiflow_monitor_run_duration_seconds_bucket{le="1.0"}`:  0,
		`tokiflow_monitor_run_duration_seconds_bucket{le="+Inf"}`: 0,
		"tokiflow_monitor_run_duration_seconds_sum":               0,
		"tokiflow_monitor_run_duration_seconds_count":             0,
	}
	for _, s := range metric.Statuses() {
		out[fmt.Sprintf("tokiflow_monitor_status{status=%q}", s)] = 0
	}
	out[fmt.Sprintf("tokiflow_monitor_status{status=%q}", status)] = 1
	for _, k := range metric.Kinds() {
		out[fmt.Sprintf("tokiflow_monitor_incidents_open{kind=%q}", k)] = 0
	}
	for _, o := range []monitor.Outcome{monitor.Succeeded, monitor.Failed, monitor.Missed, monitor.Abandoned, monitor.Unknown} {
		out[fmt.Sprintf("tokiflow_monitor_runs_total{outcome=%q}", o)] = 0
	}
	maps.Copy(out, different)
	return out
}

func TestAMonitorThatIsNew(t *testing.T) {
	s := monitor.State{Status: monitor.New, Since: at(0)}
	p := metric.PointOf(&s, at(5), 0)
	if d := cmp.Diff(want(monitor.New, nil), values(&p, at(5))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// lived is a state in which there is something of everything: an hour up and ten minutes down until it last came up, at 1000 s.
// livedGap is how much of the status of lived could not be observed, in seconds.
const livedGap = 100

func lived() monitor.State {
	totals := &monitor.Totals{
		Succeeded: 7, Failed: 3, Missed: 2, Abandoned: 1, Unknown: 4, UpTime: time.Hour, DownTime: 10 * time.Minute,
		Outages: 2, Recoveries: 1, LastDuration: 2500 * time.Millisecond,
	}
	for _, d := range []time.Duration{0, time.Second, 2500 * time.Millisecond} {
		totals.Durations.Add(d, 1)
	}
	return monitor.State{
		Status: monitor.Up, Since: at(1000), Due: at(5000), Deadline: at(5300), LastSuccess: at(1000),
		LastPing: monitor.LastPing{At: at(1500).Add(250 * time.Millisecond), Kind: record.Start}, Open: make([]monitor.OpenRun, 2),
		ZScore: -1.5, Incidents: map[incident.Kind]uuid.UUID{incident.Anomaly: uuid.Max}, Totals: totals,
	}
}

func livedValues() map[string]float64 {
	base := float64(at(0).Unix())
	return map[string]float64{
		"tokiflow_monitor_last_ping_timestamp_seconds":            base + 1500.25,
		"tokiflow_monitor_last_success_timestamp_seconds":         base + 1000,
		"tokiflow_monitor_due_timestamp_seconds":                  base + 5000,
		"tokiflow_monitor_deadline_timestamp_seconds":             base + 5300,
		"tokiflow_monitor_last_run_duration_seconds":              2.5,
		"tokiflow_monitor_anomaly_z_score":                        -1.5,
		"tokiflow_monitor_open_runs":                              2,
		`tokiflow_monitor_incidents_open{kind="anomaly"}`:         1,
		`tokiflow_monitor_runs_total{outcome="success"}`:          7,
		`tokiflow_monitor_runs_total{outcome="fail"}`:             3,
		`tokiflow_monitor_runs_total{outcome="missed"}`:           2,
		`tokiflow_monitor_runs_total{outcome="abandoned"}`:        1,
		`tokiflow_monitor_runs_total{outcome="unknown"}`:          4,
		`tokiflow_monitor_run_duration_seconds_bucket{le="1.0"}`:  2,
		`tokiflow_monitor_run_duration_seconds_bucket{le="+Inf"}`: 3,
		"tokiflow_monitor_run_duration_seconds_sum":               3.5,
		"tokiflow_monitor_run_duration_seconds_count":             3,
	}
}

func TestAMonitorThatIsUp(t *testing.T) {
	s := lived()
	p := metric.PointOf(&s, at(2000), livedGap)
	expect := livedValues()
	// Of the 1000 s since it came up, 100 could not be observed.
	expect["tokiflow_monitor_mtbf_seconds"] = (3600 + 900) / 2.0
	expect["tokiflow_monitor_mttr_seconds"] = 600
	expect["tokiflow_monitor_uptime_ratio"] = 4500 / 5100.0
	if d := cmp.Diff(want(monitor.Up, expect), values(&p, at(2000))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	// The point's lines go on: what they say later is what a later point says.
	later := metric.PointOf(&s, at(4000), livedGap)
	if d := cmp.Diff(values(&later, at(4000)), values(&p, at(4000)), near()); d != "" {
		t.Errorf("(-a point at that time +the line from before)\n%s", d)
	}
}

func TestAMonitorThatIsDown(t *testing.T) {
	s := lived()
	s.Status = monitor.Down
	s.Incidents = map[incident.Kind]uuid.UUID{incident.Missed: uuid.Max, incident.Fail: uuid.Max}
	p := metric.PointOf(&s, at(2000), 0)
	expect := livedValues()
	expect["tokiflow_monitor_up"] = 0
	expect[`tokiflow_monitor_incidents_open{kind="anomaly"}`] = 0
	expect[`tokiflow_monitor_incidents_open{kind="missed"}`] = 1
	expect[`tokiflow_monitor_incidents_open{kind="fail"}`] = 1
	expect["tokiflow_monitor_mtbf_seconds"] = 1800
	expect["tokiflow_monitor_mttr_seconds"] = 1600
	expect["tokiflow_monitor_uptime_ratio"] = 3600 / 5200.0
	if d := cmp.Diff(want(monitor.Down, expect), values(&p, at(2000))); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestTimeThatDoesNotCount: while a monitor is paused nothing moves, and one that is late is up.
func TestTimeThatDoesNotCount(t *testing.T) {
	ratio := func(status monitor.Status, t time.Time) float64 {
		s := lived()
		s.Status = status
		p := metric.PointOf(&s, at(1000), livedGap)
		return values(&p, t)["tokiflow_monitor_uptime_ratio"]
	}
	if a, b := ratio(monitor.Paused, at(1000)), ratio(monitor.Paused, at(9000)); a != b || a != 3600/4200.0 {
		t.Errorf("paused: %v, later %v", a, b)
	}
	if up, late := ratio(monitor.Up, at(9000)), ratio(monitor.Late, at(9000)); up != late {
		t.Errorf("up %v, late %v", up, late)
	}
	if early := ratio(monitor.Up, at(1000)); early != 3600/4200.0 {
		t.Errorf("a gap that is longer than the time since: %v", early)
	}
}

func near() cmp.Option {
	return cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) })
}

func TestLine(t *testing.T) {
	f := func(l metric.Line, seconds int, want float64, constant bool) {
		t.Helper()
		if got := l.Value(at(seconds)); got != want || l.Constant() != constant {
			t.Errorf("%+v after %d s: %v, constant %v; want %v, %v", l, seconds, got, l.Constant(), want, constant)
		}
	}
	f(metric.Line{Num: 3}, 10, 3, true)
	f(metric.Line{At: at(0), Num: 3, NumRate: 1, Den: 2}, 10, 6.5, false)
	f(metric.Line{At: at(0), Num: 3, Den: 2, DenRate: 1}, 10, 0.25, false)
	f(metric.Line{At: at(5), Num: 3, NumRate: 1, Den: 3, DenRate: 1}, 10, 1, false)
	f(metric.Line{At: at(5), Num: 3, Den: 2}, 10, 1.5, true)
}

func TestLabels(t *testing.T) {
	c := monitor.DefaultConfig()
	c.Name, c.Slug, c.Tags = "Backup of \"a\"", "backup", []string{"db", "nightly"}
	c.Labels = map[string]string{"team": "sre", "empty": "", "id": "x"}
	c.Schedule = schedule.Spec{Interval: model.Duration(time.Hour)}
	want := []series.Label{
		{Name: "id", Value: uuid.Max.String()},
		{Name: "label_id", Value: "x"},
		{Name: "label_team", Value: "sre"},
		{Name: "monitor", Value: `Backup of "a"`},
		{Name: "project", Value: "default"},
		{Name: "schedule", Value: c.Schedule.String()},
		{Name: "slug", Value: "backup"},
		{Name: "tags", Value: ",db,nightly,"},
	}
	if d := cmp.Diff(want, metric.Labels(uuid.Max, "default", &c)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	c.Slug, c.Tags, c.Labels = "", nil, nil
	want = []series.Label{want[0], want[3], want[5]}
	if d := cmp.Diff(want, metric.Labels(uuid.Max, "", &c)); d != "" {
		t.Errorf("a monitor with nothing (-want +got)\n%s", d)
	}
}
