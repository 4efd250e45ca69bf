package alert_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// opened is the message of an incident of nightly-etl.
func opened(t *testing.T, k incident.Kind, e incident.Evidence) alert.Message {
	t.Helper()
	evidence, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	monitor := uuid.MustParse("018f0000-0000-7000-8000-000000000001")
	at := time.Date(2026, 3, 1, 2, 5, 0, 0, time.UTC)
	return alert.Message{Type: alert.TypeOpened, Timestamp: at, Data: alert.Data{
		Incident: alert.Incident{
			ID: uuid.MustParse("0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a"), MonitorID: monitor, MonitorName: "nightly-etl", Kind: k,
			Status: incident.Open, Severity: string(k.Severity()), OpenedAt: at, Evidence: evidence,
		},
		Monitor: alert.Monitor{
			ID: monitor, Name: "nightly-etl", Slug: "etl", Tags: []string{"etl", "db"}, Labels: map[string]string{"team": "data"},
		},
	}}
}

func TestRoutedOf(t *testing.T) {
	org := tenant.OrgID{UUID: uuid.New()}
	m := opened(t, incident.Missed, incident.Evidence{})
	got, err := alert.RoutedOf(org, m, "warehouse", "https://toki.example.com")
	if err != nil {
		t.Fatal(err)
	}
	want := alert.Routed{
		Org: org, Source: alert.FromIncident,
		Labels: map[string]string{
			"alertname": "MonitorMissed", "monitor": "nightly-etl", "id": "018f0000-0000-7000-8000-000000000001", "project": "warehouse",
			"severity": "critical", "tags": ",db,etl,", "team": "data",
		},
		Annotations: map[string]string{
			"summary": "nightly-etl missed its deadline", "incident_id": "0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a", "kind": "missed", "monitor_slug": "etl",
		},
		GeneratorURL: "https://toki.example.com/api/v1/incidents/0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a",
		StartsAt:     m.Timestamp, Incident: m.Data.Incident.ID, Monitor: m.Data.Monitor.ID,
	}
	want.Fingerprint = model.LabelSet{
		"alertname": "MonitorMissed", "monitor": "nightly-etl", "id": "018f0000-0000-7000-8000-000000000001", "project": "warehouse",
		"severity": "critical", "tags": ",db,etl,", "team": "data",
	}.Fingerprint().String()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	ended := m.Timestamp.Add(time.Hour)
	m.Type, m.Timestamp, m.Data.Incident.ResolvedAt = alert.TypeResolved, ended.Add(time.Second), &ended
	if got, err := alert.RoutedOf(org, m, "", ""); err != nil || !got.EndsAt.Equal(ended) || !got.Resolved(ended) || got.Resolved(ended.Add(-1)) {
		t.Errorf("ends at %v, want %v; %v", got.EndsAt, ended, err)
	}
	m.Data.Incident.ResolvedAt = nil
	if got, _ := alert.RoutedOf(org, m, "", ""); !got.EndsAt.Equal(m.Timestamp) {
		t.Errorf("without resolved_at it ends at %v", got.EndsAt)
	}
}

func TestAMessageThatSaysTooLittle(t *testing.T) {
	for name, spoil := range map[string]func(*alert.Message){
		"no incident": func(m *alert.Message) { m.Data.Incident.ID = uuid.Nil },
		"no kind":     func(m *alert.Message) { m.Data.Incident.Kind = "" },
		"no start":    func(m *alert.Message) { m.Data.Incident.OpenedAt = time.Time{} },
		"no end":      func(m *alert.Message) { m.Type, m.Timestamp = alert.TypeResolved, time.Time{} },
	} {
		m := opened(t, incident.Fail, incident.Evidence{})
		spoil(&m)
		if _, err := alert.RoutedOf(tenant.OrgID{}, m, "", ""); !errors.Is(err, alert.ErrIncomplete) {
			t.Errorf("%s: %v", name, err)
		}
	}
	at := time.Now()
	good := alert.OfRule{ID: uuid.New(), Labels: map[string]string{"alertname": "A"}, StartsAt: at}
	for name, spoil := range map[string]func(*alert.OfRule){
		"no id":     func(o *alert.OfRule) { o.ID = uuid.Nil },
		"no labels": func(o *alert.OfRule) { o.Labels = map[string]string{"a": ""} },
		"no start":  func(o *alert.OfRule) { o.StartsAt = time.Time{} },
	} {
		o := good
		spoil(&o)
		if _, err := alert.RoutedOfRule(tenant.OrgID{}, o); !errors.Is(err, alert.ErrIncomplete) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r, err := alert.RoutedOfRule(tenant.OrgID{}, good); err != nil || r.Source != alert.FromRule || !r.EndsAt.IsZero() || r.Incident != good.ID {
		t.Errorf("%+v, %v", r, err)
	}
	good.EndsAt = &at
	if r, err := alert.RoutedOfRule(tenant.OrgID{}, good); err != nil || !r.EndsAt.Equal(at) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAMonitorsOwnLabels(t *testing.T) {
	for name, c := range map[string]struct{ own, want map[string]string }{
		"a clash":       {map[string]string{"project": "x", "severity": "page"}, map[string]string{"label_project": "x", "label_severity": "page"}},
		"a clash twice": {map[string]string{"tags": "x", "label_tags": "y"}, map[string]string{"label_label_tags": "x", "label_tags": "y"}},
		"empty":         {map[string]string{"team": ""}, map[string]string{}},
		// The name is taken even where there is no value: it must not depend on the project's name what a label is called.
		"a name without a value": {map[string]string{"id": "7", "alertname": "z"}, map[string]string{"label_id": "7", "label_alertname": "z"}},
	} {
		m := opened(t, incident.Late, incident.Evidence{})
		m.Data.Monitor.Labels, m.Data.Monitor.Tags = c.own, nil
		r, err := alert.RoutedOf(tenant.OrgID{}, m, "", "")
		if err != nil {
			t.Fatal(err)
		}
		for _, ours := range []string{"alertname", "monitor", "id", "severity"} {
			delete(r.Labels, ours)
		}
		if diff := cmp.Diff(c.want, r.Labels); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWhatAPersonReads(t *testing.T) {
	at := func(hour, minute int) *time.Time {
		t := time.Date(2026, 3, 1, hour, minute, 0, 5e8, time.FixedZone("", 3600))
		return &t
	}
	code, hour, twelve, three := 3, 3600.0, 12*60.0, 10920.0
	tenth := 0.05
	for name, c := range map[string]struct {
		kind                 incident.Kind
		e                    incident.Evidence
		alertname, sum, desc string
	}{
		"missed": {
			incident.Missed,
			incident.Evidence{DueAt: at(3, 0), DeadlineAt: at(3, 5), LastPingAt: at(2, 0), LastPingKind: "success"},
			"MonitorMissed",
			"nightly-etl missed its deadline", "Due: 2026-03-01T02:00:00Z\nDeadline: 2026-03-01T02:05:00Z\nLast ping: success at 2026-03-01T01:00:00Z",
		},
		"late": {incident.Late, incident.Evidence{LastPingAt: at(2, 0)}, "MonitorLate", "nightly-etl is late", "Last ping: 2026-03-01T01:00:00Z"},
		"failed": {
			incident.Fail,
			incident.Evidence{ExitCode: &code, FailuresInARow: 4, Output: "one\ntwo\n"},
			"MonitorFailed",
			"nightly-etl failed with exit status 3", "Exit status: 3\nFailures in a row: 4\nOutput:\none\ntwo",
		},
		"said so": {incident.Fail, incident.Evidence{FailuresInARow: 1}, "MonitorFailed", "nightly-etl failed", ""},
		"overrun": {
			incident.Overrun,
			incident.Evidence{RunStartedAt: at(1, 0), MaxRuntimeSeconds: &hour},
			"MonitorOverrun",
			"nightly-etl runs longer than 1h", "Run started: 2026-03-01T00:00:00Z\nMax runtime: 1h",
		},
		"overrun of nothing": {incident.Overrun, incident.Evidence{}, "MonitorOverrun", "nightly-etl runs too long", ""},
		"long": {
			incident.Anomaly,
			incident.Evidence{DurationSeconds: &three, MeanSeconds: &twelve},
			"MonitorAnomaly",
			"nightly-etl took unusually long: 3h 2m, usually 12m", "Duration: 3h 2m\nUsually: 12m",
		},
		"short": {
			incident.Anomaly,
			incident.Evidence{DurationSeconds: &tenth, MeanSeconds: &twelve},
			"MonitorAnomaly",
			"nightly-etl took unusually short: 0.05s, usually 12m", "Duration: 0.05s\nUsually: 12m",
		},
		"unknown": {incident.Anomaly, incident.Evidence{}, "MonitorAnomaly", "nightly-etl took unusually long or short", ""},
		"another": {"odd", incident.Evidence{}, "MonitorOdd", "nightly-etl: odd", ""},
	} {
		r, err := alert.RoutedOf(tenant.OrgID{}, opened(t, c.kind, c.e), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if r.Labels["alertname"] != c.alertname || r.Annotations["summary"] != c.sum {
			t.Errorf("%s: %s, %q", name, r.Labels["alertname"], r.Annotations["summary"])
		}
		if diff := cmp.Diff(c.desc, r.Annotations["description"]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestSpansOfTime(t *testing.T) {
	for s, want := range map[float64]string{
		0: "0s", 0.001: "0s", 1.234: "1.23s", 9.999: "10s", 10.4: "10s", 59.6: "1m", 61: "1m 1s", 3599: "59m 59s", 3605: "1h", 90061: "1d 1h",
		864000: "10d", 1e12: "1e+12s", -1: "-1s",
	} {
		r, err := alert.RoutedOf(tenant.OrgID{}, opened(t, incident.Overrun, incident.Evidence{MaxRuntimeSeconds: &s}), "", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(r.Annotations["summary"], "nightly-etl runs longer than "); got != want {
			t.Errorf("%v is %q, want %q", s, got, want)
		}
	}
}

func TestOutputIsCutAtItsBeginning(t *testing.T) {
	for name, output := range map[string]string{
		"lines": strings.Repeat("<a line of output>\n", 5000) + "the end", "one line": strings.Repeat("é", 50_000) + "the end",
		"quotes": strings.Repeat("\x01\"", 20_000) + "the end", "broken": strings.Repeat("\xff", 9000) + "the end",
	} {
		m := opened(t, incident.Fail, incident.Evidence{FailuresInARow: 2, Output: output})
		r, err := alert.RoutedOf(tenant.OrgID{}, m, "", "")
		if err != nil {
			t.Fatal(err)
		}
		description, evidence := r.Annotations[alert.AnnotationDescription], r.Annotations[alert.AnnotationEvidence]
		if len(description) > 1200 || !strings.HasSuffix(description, "the end") || !utf8.ValidString(description) {
			t.Errorf("%s: description of %d bytes", name, len(description))
		}
		if len(evidence) > 4096 || len(evidence) < 500 {
			t.Errorf("%s: evidence of %d bytes", name, len(evidence))
		}
		var e incident.Evidence
		if err := json.Unmarshal([]byte(evidence), &e); err != nil || e.FailuresInARow != 2 || !strings.HasSuffix(e.Output, "the end") {
			t.Errorf("%s: evidence %q, %v", name, e.Output, err)
		}
		if name == "lines" && !strings.Contains(description, "Output:\n<a line of output>\n") {
			t.Errorf("it does not begin with a line: %.60q", description)
		}
	}
}

func FuzzEvidence(f *testing.F) {
	f.Add([]byte(`{"output":"x\ny","exit_code":3,"due_at":"2026-01-01T00:00:00Z"}`), "monitor", "team", "data")
	f.Add([]byte(`{"duration_seconds":1e300,"mean_seconds":-1}`), "", "label_tags", "")
	f.Add([]byte(`[]`), "\xff", "alertname", "x")
	f.Fuzz(func(t *testing.T, evidence []byte, name, label, value string) {
		m := opened(t, incident.Anomaly, incident.Evidence{})
		m.Data.Incident.Evidence, m.Data.Monitor.Name = evidence, name
		m.Data.Monitor.Labels = map[string]string{label: value, "tags": "x"}
		r, err := alert.RoutedOf(tenant.OrgID{}, m, "p", "")
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Annotations[alert.AnnotationEvidence]) > 4096 || len(r.Annotations[alert.AnnotationDescription]) > 2048 {
			t.Errorf("%d and %d bytes", len(r.Annotations[alert.AnnotationEvidence]), len(r.Annotations[alert.AnnotationDescription]))
		}
		if r.Labels["alertname"] != "MonitorAnomaly" || len(r.Fingerprint) != 16 {
			t.Errorf("labels %v, fingerprint %s", r.Labels, r.Fingerprint)
		}
		if label != "tags" && value != "" && r.Labels[label] != value && r.Labels["label_"+label] != value && r.Labels["label_label_"+label] != value {
			t.Errorf("%q=%q is lost: %v", label, value, r.Labels)
		}
	})
}
