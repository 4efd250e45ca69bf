package rule_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
)

var start = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// timeline runs one block of testdata/timelines.txt.
type timeline struct {
	t      *testing.T
	rule   rule.Rule
	alerts []rule.Alert
}

func TestTimelines(t *testing.T) {
	text, err := os.ReadFile("testdata/timelines.txt")
	if err != nil {
		t.Fatal(err)
	}
	var l *timeline
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if strings.HasPrefix(line, "rule") {
			l = &timeline{t: t}
		}
		where := fmt.Sprintf("line %d", i+1)
		switch words[0] {
		case "rule":
			l.configure(words[1:])
		case "holds":
			l.holds(where, words[1:])
		default:
			left, want, _ := strings.Cut(line, "->")
			l.evaluate(where, strings.Fields(left), strings.TrimSpace(want))
		}
	}
}

func (l *timeline) configure(words []string) {
	l.rule = rule.Rule{}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "for":
			l.rule.For = l.duration(value)
		case "keep":
			l.rule.KeepFiringFor = l.duration(value)
		case "limit":
			l.rule.Limit, _ = strconv.Atoi(value)
		default:
			l.t.Fatalf("a rule has no %s", name)
		}
	}
}

func (l *timeline) duration(s string) time.Duration {
	d, err := model.ParseDuration(s)
	if err != nil {
		l.t.Fatal(err)
	}
	return time.Duration(d)
}

func named(name string) []series.Label {
	return []series.Label{{Name: "alertname", Value: "A"}, {Name: "name", Value: name}}
}

func (l *timeline) evaluate(where string, words []string, want string) {
	l.t.Helper()
	at := start.Add(l.duration(words[0]))
	var results []rule.Result
	for _, name := range words[1:] {
		results = append(results, rule.Result{Labels: named(name), Value: 1})
	}
	given, before := l.alerts, slices.Clone(l.alerts)
	next, changes, err := l.rule.Next(l.alerts, results, at)
	var got []string
	for _, c := range changes {
		if c.To != c.Alert.State || c.From == c.To {
			l.t.Errorf("%s: change %+v", where, c)
		}
		if (c.To == rule.Inactive) != c.Alert.ResolvedAt.Equal(at) {
			l.t.Errorf("%s: resolved at %s", where, c.Alert.ResolvedAt)
		}
		got = append(got, fmt.Sprintf("%s %s>%s", c.Alert.Labels[1].Value, c.From, c.To))
	}
	if err != nil {
		got = []string{"error " + err.Error()}
	} else {
		l.alerts = next
	}
	if strings.Join(got, " ") != want {
		l.t.Errorf("%s: got %q, want %q", where, strings.Join(got, " "), want)
	}
	if diff := cmp.Diff(before, given); diff != "" {
		l.t.Errorf("%s: the alerts given were changed: %s", where, diff)
	}
}

func (l *timeline) holds(where string, want []string) {
	l.t.Helper()
	var got []string
	for _, a := range l.alerts {
		got = append(got, a.Labels[1].Value+"="+string(a.State))
	}
	if !slices.Equal(got, want) {
		l.t.Errorf("%s: holds %v, want %v", where, got, want)
	}
}

func TestTheInstantsOfAnAlert(t *testing.T) {
	r := rule.Rule{For: time.Minute, KeepFiringFor: time.Minute}
	res := []rule.Result{{Labels: named("a"), Value: 1, Annotations: []series.Label{{Name: "n", Value: "1"}}}}
	alerts, _, err := r.Next(nil, res, start)
	if err != nil || len(alerts) != 1 || !alerts[0].ActiveAt.Equal(start) || !alerts[0].FiredAt.IsZero() {
		t.Fatalf("%+v, %v", alerts, err)
	}
	res[0].Value, res[0].Annotations = 7, nil
	alerts, changes, _ := r.Next(alerts, res, start.Add(time.Minute))
	if a := alerts[0]; a.Value != 7 || a.Annotations != nil || !a.FiredAt.Equal(start.Add(time.Minute)) || !a.ActiveAt.Equal(start) {
		t.Errorf("%+v", a)
	}
	if !changes[0].FiredAt.Equal(start.Add(time.Minute)) {
		t.Errorf("%+v", changes[0])
	}
	alerts, _, _ = r.Next(alerts, nil, start.Add(2*time.Minute))
	if a := alerts[0]; a.Value != 7 || !a.KeepSince.Equal(start.Add(2*time.Minute)) || a.State != rule.Firing {
		t.Errorf("%+v", a)
	}
	alerts, changes, _ = r.Next(alerts, nil, start.Add(3*time.Minute))
	if a := alerts[0]; a.State != rule.Inactive || !a.ResolvedAt.Equal(start.Add(3*time.Minute)) {
		t.Errorf("%+v", a)
	}
	if !changes[0].FiredAt.Equal(start.Add(time.Minute)) {
		t.Errorf("the change forgets when it fired: %+v", changes[0])
	}
}

func TestDismissEndsWhatIsActive(t *testing.T) {
	alerts := []rule.Alert{
		{State: rule.Firing, Labels: named("a"), FiredAt: start},
		{State: rule.Pending, Labels: named("b")},
		{State: rule.Inactive, Labels: named("c"), ResolvedAt: start},
	}
	changes := rule.Dismiss(alerts, start.Add(time.Hour))
	if len(changes) != 2 || changes[0].From != rule.Firing || changes[1].From != rule.Pending || !changes[0].FiredAt.Equal(start) {
		t.Fatalf("%+v", changes)
	}
	if alerts[0].State != rule.Firing {
		t.Error("the alerts given were changed")
	}
}
