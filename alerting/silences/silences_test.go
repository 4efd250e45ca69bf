package silences_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokiflow/tokiflow/alerting/silences"
)

func window() silences.Silence {
	begin := time.Now().Add(-time.Minute)
	return silences.Silence{
		ID: "3dbd3053-54a4-4a6d-8f0a-9d2ab1fa8f63",
		Matchers: []silences.Matcher{
			{Name: "project", Value: "shop"},
			{Name: "tags", Value: ".*,(a|b),.*", Regex: true},
			{Name: "severity", Value: "warning", Negative: true},
			{Name: "monitor", Value: "x.*", Regex: true, Negative: true},
		},
		StartsAt: begin, EndsAt: begin.Add(time.Hour), CreatedBy: "ann", Comment: "upgrade",
	}
}

func open(t *testing.T, snapshot []byte) *silence.Silences {
	t.Helper()
	o := silence.Options{Retention: silences.Retention, Metrics: prometheus.NewRegistry()}
	if snapshot != nil {
		o.SnapshotReader = bytes.NewReader(snapshot)
	}
	s, err := silence.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mutes reports whether a silence matches the labels now.
func mutes(t *testing.T, s *silence.Silences, labels model.LabelSet) bool {
	t.Helper()
	found, _, err := s.Query(t.Context(), silence.QState(silence.SilenceStateActive), silence.QMatches(labels))
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}

func TestAlertmanagerTakesWhatEncodeGives(t *testing.T) {
	x, err := silences.Encode(window(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	merged := open(t, nil)
	if err := merged.Merge(x.Body); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*silence.Silences{"merged": merged, "loaded": open(t, x.Body)} {
		f := func(want bool, labels model.LabelSet) {
			t.Helper()
			if got := mutes(t, s, labels); got != want {
				t.Errorf("%s: %v muted: %v", name, labels, got)
			}
		}
		f(true, model.LabelSet{"project": "shop", "tags": ",b,", "severity": "critical", "monitor": "y"})
		f(false, model.LabelSet{"project": "shop", "tags": ",c,", "severity": "critical", "monitor": "y"})
		f(false, model.LabelSet{"project": "shop", "tags": ",b,", "severity": "warning", "monitor": "y"})
		f(false, model.LabelSet{"project": "shop", "tags": ",b,", "severity": "critical", "monitor": "xy"})
		f(false, model.LabelSet{"project": "home", "tags": ",b,", "severity": "critical", "monitor": "y"})
	}
}

func TestEncodeGivesWhatAlertmanagerWouldStore(t *testing.T) {
	s := window()
	s.StartsAt = time.Now().Add(time.Hour) // or Alertmanager would move the start
	s.EndsAt = s.StartsAt.Add(time.Hour)
	x, err := silences.Encode(s, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var stored []byte
	theirs := open(t, nil)
	theirs.SetBroadcast(func(b []byte) { stored = b })
	ours, err := silences.Unmarshal(x.Body)
	if err != nil {
		t.Fatal(err)
	}
	posted, ok := proto.Clone(ours.Silence).(*silencepb.Silence)
	if !ok {
		t.Fatal("no silence")
	}
	posted.Id, posted.UpdatedAt, posted.Matchers = "", nil, nil
	if err := theirs.Set(t.Context(), posted); err != nil {
		t.Fatal(err)
	}
	want, err := silences.Unmarshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	want.Silence.Id, want.Silence.UpdatedAt = ours.Silence.Id, ours.Silence.UpdatedAt
	if diff := cmp.Diff(want, ours, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if again := silences.Stored(ours, x.Body); !again.EndsAt.Equal(x.EndsAt) || !again.ExpiresAt.Equal(s.EndsAt.Add(silences.Retention)) || again.ID != s.ID {
		t.Errorf("stored as %+v", again)
	}
}

func TestEncodeMakesAnID(t *testing.T) {
	s := window()
	s.ID = ""
	a, errA := silences.Encode(s, time.Now())
	b, errB := silences.Encode(s, time.Now())
	if errA != nil || errB != nil || a.ID == "" || a.ID == b.ID {
		t.Errorf("%q %v, %q %v", a.ID, errA, b.ID, errB)
	}
}

func TestOneThatWouldBlindAllOthersIsRefused(t *testing.T) {
	f := func(want string, change func(*silences.Silence)) {
		t.Helper()
		s := window()
		change(&s)
		if _, err := silences.Encode(s, time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f("needs a matcher", func(s *silences.Silence) { s.Matchers = nil })
	f("after it starts", func(s *silences.Silence) { s.EndsAt = s.StartsAt.Add(-time.Second) })
	f("a start and an end", func(s *silences.Silence) { s.StartsAt = time.Time{} })
	f("a start and an end", func(s *silences.Silence) { s.EndsAt = time.Time{} })
	f("regular expression", func(s *silences.Silence) { s.Matchers[1].Value = "(" })
	f("a label called", func(s *silences.Silence) { s.Matchers[0].Name = "" })
	f("a label called", func(s *silences.Silence) { s.Matchers[0].Name = "\xff" })
	f("empty string", func(s *silences.Silence) { s.Matchers = []silences.Matcher{{Name: "a", Value: ".*", Regex: true}} })
	f("empty string", func(s *silences.Silence) { s.Matchers = []silences.Matcher{{Name: "a"}} })
}

func TestWhatEndsAtOnceMayBeStored(t *testing.T) {
	s := window()
	s.EndsAt = s.StartsAt // a window that was called off
	if _, err := silences.Encode(s, time.Now()); err != nil {
		t.Error(err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	x, err := silences.Encode(window(), time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(x.Body)
	f.Add([]byte{})
	f.Add([]byte{2, 10, 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := silences.Unmarshal(body)
		if err != nil {
			return
		}
		again, err := silences.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, again) // whatever is let through Alertmanager can live with
		if _, _, err := s.Query(t.Context(), silence.QMatches(model.LabelSet{"a": "b"})); err != nil {
			t.Errorf("%v of %v", err, m)
		}
	})
}

func TestAnUnknownTypeIsRefused(t *testing.T) {
	m := &silencepb.Silence{Id: "x", Matchers: []*silencepb.Matcher{{Name: "a", Pattern: "b", Type: 9}}, StartsAt: timestamppb.Now(), EndsAt: timestamppb.Now()}
	if err := silences.Check(m); err == nil || !strings.Contains(err.Error(), "unknown type") {
		t.Errorf("%v", err)
	}
}
