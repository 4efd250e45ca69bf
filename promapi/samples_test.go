package promapi_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/series"
)

// gathered are the samples of every series by its labels, in order; markers are "stale".
func gathered(t *testing.T, b *bench, from, to time.Time) map[string][]point {
	t.Helper()
	out := map[string][]point{}
	err := b.api.Samples(t.Context(), org(1), from, to, 15*time.Second, func(list []series.Series) error {
		for _, s := range list {
			if !slices.IsSortedFunc(s.Labels, func(a, b series.Label) int { return strings.Compare(a.Name, b.Name) }) {
				t.Errorf("labels are not sorted: %v", s.Labels)
			}
			var text strings.Builder
			for _, l := range s.Labels {
				text.WriteString(l.Name + "=" + l.Value + ";")
			}
			key := text.String()
			for _, f := range s.Floats {
				out[key] = append(out[key], pointOf(f.At, f.Value))
			}
			for _, h := range s.Histograms {
				var p prompb.Histogram
				if err := p.Unmarshal(h.Data); err != nil || p.Timestamp != h.At {
					t.Fatal(err, p.Timestamp)
				}
				if value.IsStaleNaN(p.Sum) {
					out[key] = append(out[key], point{T: h.At, Stale: true})
				} else {
					out[key] = append(out[key], point{T: h.At, V: float64(p.GetCountInt())})
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWindowsThatFollowOneAnotherGiveEachSampleOnce(t *testing.T) {
	l := born(1, "a", ago("10m")).run(ago("5m"), monitor.Succeeded, time.Second).turns(ago("4m"), monitor.Down).named(ago("3m"), "b").named(ago("2m"), "b").deleted(ago("61s"))
	b := newBench(t, lives(l, born(2, "c", ago("90s"))), nil)
	whole := gathered(t, b, ago("11m"), now())
	parts := map[string][]point{}
	for _, cut := range [][2]string{{"11m", "7m1s"}, {"7m1s", "3m"}, {"3m", "2m59s"}, {"2m59s", "60s"}, {"60s", "45s"}, {"45s", "0s"}} {
		for k, list := range gathered(t, b, ago(cut[0]), ago(cut[1])) {
			parts[k] = append(parts[k], list...)
		}
	}
	if d := cmp.Diff(whole, parts); d != "" {
		t.Errorf("(-whole +parts)\n%s", d)
	}
	up := whole["__name__=tokiflow_monitor_up;id="+l.id()+";"]
	if len(up) != 37 || up[0] != (point{T: ago("10m").UnixMilli(), V: 1}) || up[36] != (point{T: ago("60s").UnixMilli(), Stale: true}) {
		t.Errorf("up: %d samples: %v", len(up), up)
	}
	if n := len(whole); n < 85 {
		t.Errorf("only %d series", n)
	}
	for _, renamed := range []struct{ name, from, stale string }{{"a", "10m", "3m"}, {"b", "3m", "60s"}} {
		key := "__name__=tokiflow_monitor_info;id=" + l.id() + ";label_team=ops;monitor=" + renamed.name + ";project=main;schedule= UTC;tags=,a,b,;"
		list := whole[key]
		if len(list) == 0 || list[0].T != ago(renamed.from).UnixMilli() || list[len(list)-1] != (point{T: ago(renamed.stale).UnixMilli(), Stale: true}) {
			t.Errorf("%s: %v", key, list)
		}
	}
}

func TestSamplesStopAtAnError(t *testing.T) {
	b := newBench(t, lives(many(20)...), nil)
	calls := 0
	stop := errors.New("enough")
	err := b.api.Samples(t.Context(), org(1), ago("2h"), now(), 15*time.Second, func(list []series.Series) error {
		n := 0
		for _, s := range list {
			n += len(s.Floats) + len(s.Histograms)
		}
		if n < 5000 || n > 6000 {
			t.Errorf("a batch of %d samples", n)
		}
		if calls++; calls == 3 {
			return stop
		}
		return nil
	})
	if calls != 3 || !errors.Is(err, stop) {
		t.Errorf("%d calls, %v", calls, err)
	}
	if err := b.api.Samples(t.Context(), org(1), ago("2h"), now(), time.Millisecond, nil); err == nil {
		t.Error("a step of a millisecond is accepted")
	}
	if err := b.api.Samples(t.Context(), org(1), ago("14s"), ago("1s"), 15*time.Second, nil); err != nil {
		t.Errorf("no instant in the window: %v", err)
	}
}
