package rule_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func TestLabelsOfARuleGoBeforeThoseOfItsGroup(t *testing.T) {
	g := rule.Group{Labels: map[string]string{"team": "group", "zone": "x"}}
	got := g.LabelsOf(rule.Definition{Labels: map[string]string{"team": "rule", "a": ""}})
	want := []series.Label{{Name: "a"}, {Name: "team", Value: "rule"}, {Name: "zone", Value: "x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAGroupThatChangesKeepsTheProgressOfRulesThatStay(t *testing.T) {
	g := rule.Group{Rules: []rule.Definition{
		{Alert: "A", Expr: "new"}, {Alert: "A", Labels: map[string]string{"x": "1"}}, {Record: "r"}, {Record: "r"}, {Record: "A"},
	}}
	old := []rule.Progress{
		{Kind: rule.Recording, Name: "r", LastError: "first"},
		{Kind: rule.Alerting, Name: "Gone", LastError: "gone"},
		{Kind: rule.Alerting, Name: "A", LastError: "a", Health: rule.Bad},
		{Kind: rule.Recording, Name: "r", LastError: "second"},
		{Kind: rule.Recording, Name: "r", LastError: "third"},
	}
	found, left := rule.Split(g, old)
	var errs []string
	for _, p := range found {
		errs = append(errs, p.LastError)
	}
	if diff := cmp.Diff([]string{"a", "", "first", "second", ""}, errs); diff != "" {
		t.Error(diff)
	}
	if found[1].Health != rule.Unknown || found[1].Kind != rule.Alerting || found[4].Kind != rule.Recording {
		t.Errorf("%+v", found)
	}
	if len(left) != 2 || left[0].LastError != "gone" || left[1].LastError != "third" {
		t.Errorf("%+v", left)
	}
	s := rule.StatusOf(g, old, start, time.Second)
	if len(s.Rules) != 5 || s.Rules[0].Progress.LastError != "a" || s.Rules[0].Expr != "new" || !s.Evaluated.Equal(start) {
		t.Errorf("%+v", s)
	}
}

func TestProgressSurvivesJSON(t *testing.T) {
	in := []rule.Progress{{
		Kind: rule.Alerting, Name: "A", Labels: named("x"), Health: rule.Good, Evaluated: start, Took: time.Second,
		Alerts: []rule.Alert{
			{State: rule.Pending, Labels: named("nan"), Value: rule.Value(math.Inf(1)), ActiveAt: start},
			{State: rule.Firing, Labels: named("f"), Annotations: named("n"), Value: 0.1, ActiveAt: start, FiredAt: start, KeepSince: start},
		},
	}}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out []rule.Progress
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Error(diff)
	}
	if in[0].State() != rule.Firing || (rule.Progress{}).State() != rule.Inactive {
		t.Error("the weightiest state counts")
	}
	var v rule.Value
	if err := v.UnmarshalText([]byte("NaN")); err != nil || !math.IsNaN(float64(v)) {
		t.Error(v, err)
	}
	if err := v.UnmarshalText([]byte("x")); err == nil {
		t.Error("x is a value")
	}
}

func TestSamplesOfAlerts(t *testing.T) {
	a := rule.Alert{State: rule.Pending, Labels: []series.Label{{Name: "alertname", Value: "A"}, {Name: "job", Value: "j"}}, ActiveAt: start}
	// The template of `gone` gave nothing, so the alert has no such label: its series have the template, as with Prometheus.
	got := rule.Samples(a, "A", []series.Label{{Name: "gone", Value: "{{ $labels.x }}"}, {Name: "job", Value: "template"}}, 7)
	want := [2]series.Series{
		{
			Labels: []series.Label{
				{Name: "__name__", Value: "ALERTS"},
				{Name: "alertname", Value: "A"},
				{Name: "alertstate", Value: "pending"},
				{Name: "gone", Value: "{{ $labels.x }}"},
				{Name: "job", Value: "j"},
			},
			Floats: []series.Float{{At: 7, Value: 1}},
		},
		{
			Labels: []series.Label{
				{Name: "__name__", Value: "ALERTS_FOR_STATE"},
				{Name: "alertname", Value: "A"},
				{Name: "gone", Value: "{{ $labels.x }}"},
				{Name: "job", Value: "j"},
			},
			Floats: []series.Float{{At: 7, Value: float64(start.Unix())}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	p := rule.Progress{Kind: rule.Alerting, Name: "A", Alerts: []rule.Alert{a, {State: rule.Inactive}}}
	if n := len(p.SeriesOf()); n != 2 {
		t.Errorf("%d series of one active alert", n)
	}
	p = rule.Progress{Kind: rule.Recording, Series: [][]series.Label{named("x")}}
	if n := len(p.SeriesOf()); n != 1 {
		t.Errorf("%d series", n)
	}
}

func TestWith(t *testing.T) {
	got := rule.With(named("x"), series.Label{Name: "name", Value: "y"}, series.Label{Name: "alertname"}, series.Label{Name: "b", Value: "1"}, series.Label{Name: "b", Value: "2"})
	if diff := cmp.Diff([]series.Label{{Name: "b", Value: "2"}, {Name: "name", Value: "y"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSlots(t *testing.T) {
	org := tenant.OrgID{UUID: uuid.MustParse("0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a")}
	offsets := map[time.Duration]bool{}
	for _, name := range []string{"a", "b", "c", "d"} {
		first := rule.NextSlot(org, name, time.Minute, start)
		if !first.After(start) || first.Sub(start) > time.Minute || first.UnixNano()%1e6 != 0 {
			t.Errorf("%s: %s after %s", name, first, start)
		}
		offsets[first.Sub(start)] = true
		at := start
		for i := range 5 {
			at = rule.NextSlot(org, name, time.Minute, at)
			if want := first.Add(time.Duration(i) * time.Minute); !at.Equal(want) {
				t.Errorf("%s: slot %d is %s, want %s", name, i, at, want)
			}
		}
	}
	if len(offsets) < 3 {
		t.Error("the groups are not spread over the interval")
	}
	if at := rule.NextSlot(org, "a", time.Minute, time.UnixMilli(-5)); at.UnixMilli() <= -5 || at.UnixMilli() > 60_000-5 {
		t.Errorf("before 1970: %s", at)
	}
}

func TestSkip(t *testing.T) {
	for _, c := range []struct {
		after  time.Duration
		want   time.Duration
		missed int64
	}{
		{-time.Second, 0, 0},
		{0, 0, 0},
		{59 * time.Second, 0, 0},
		{time.Minute, time.Minute, 1},
		{10*time.Minute + time.Second, 10 * time.Minute, 10},
	} {
		at, missed := rule.Skip(start, start.Add(c.after), time.Minute)
		if !at.Equal(start.Add(c.want)) || missed != c.missed {
			t.Errorf("%s: %s, %d", c.after, at.Sub(start), missed)
		}
	}
}

func TestMessages(t *testing.T) {
	a := rule.Alert{State: rule.Firing, Labels: named("x"), Annotations: []series.Label{{Name: "summary", Value: "s"}}, FiredAt: start}
	m, ok := rule.MessageOf(rule.Change{Alert: a, From: rule.Pending, To: rule.Firing, FiredAt: start}, start, "http://x")
	b, err := json.Marshal(m)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	want := `{"type":"alert.firing","timestamp":"2026-11-23T03:00:00Z","data":{"alert":{"labels":{"alertname":"A","name":"x"},` +
		`"annotations":{"summary":"s"},"startsAt":"2026-11-23T03:00:00Z","endsAt":null,"generatorURL":"http://x",` +
		`"fingerprint":"` + rule.Fingerprint(named("x")) + `"}}}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
	end := start.Add(time.Minute)
	for _, to := range []rule.State{rule.Inactive, rule.Pending} {
		m, ok = rule.MessageOf(rule.Change{From: rule.Firing, To: to, FiredAt: start}, end, "")
		if !ok || m.Type != rule.TypeResolved || !m.Data.Alert.EndsAt.Equal(end) || !m.Data.Alert.StartsAt.Equal(start) {
			t.Errorf("%+v", m)
		}
	}
	for _, c := range []rule.Change{{From: rule.Inactive, To: rule.Pending}, {From: rule.Pending, To: rule.Inactive}} {
		if _, ok := rule.MessageOf(c, end, ""); ok {
			t.Errorf("somebody is told of %s>%s", c.From, c.To)
		}
	}
}

func TestIDs(t *testing.T) {
	one, two := tenant.OrgID{UUID: uuid.MustParse("018f0000-0000-7000-8000-000000000001")}, tenant.OrgID{UUID: uuid.New()}
	if id, hash := rule.ID(one, named("x")), rule.Fingerprint(named("x")); id.String() != "bb01bff1-7806-5317-855a-8a7e87fb7164" || hash != "6effaf7a4b2f174c" {
		t.Errorf("the id of an alert has changed: %s, %s", id, hash)
	}
	if rule.ID(one, named("x")) == rule.ID(two, named("x")) || rule.ID(one, named("x")) == rule.ID(one, named("y")) {
		t.Error("two alerts have one id")
	}
	if a, b := rule.Fingerprint(named("x")), rule.Fingerprint(named("y")); len(a) != 16 || a == b {
		t.Errorf("fingerprints %s and %s", a, b)
	}
}

func TestEvery(t *testing.T) {
	offset := time.Second
	if (rule.Group{}).Every() != time.Minute || (rule.Group{Interval: 1}).Every() != 1 || (rule.Group{}).Offset() != 0 ||
		(rule.Group{QueryOffset: &offset}).Offset() != offset {
		t.Error("defaults")
	}
}
