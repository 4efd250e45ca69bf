package guard_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/guard"
)

// epoch is a Monday.
func epoch() time.Time { return time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC) }

// traffic is how many pings come in a minute.
type traffic func(at time.Time) float64

// world runs the guard over made-up minutes and keeps its memory as the store does.
type world struct {
	t         *testing.T
	rules     guard.Rules
	state     guard.State
	at        time.Time
	minutes   map[time.Time]int64 // that were believed
	doubted   map[time.Time]int64
	processes int
	rand      *rand.Rand
	changes   []string
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, at: epoch(), minutes: map[time.Time]int64{}, doubted: map[time.Time]int64{}, processes: 2,
		rand: rand.New(rand.NewPCG(1, 2)),
	}
}

// run lets minutes pass, with as many pings as chance makes of the traffic, and returns the changes of the phase.
func (w *world) run(for_ time.Duration, tr traffic) []string {
	w.t.Helper()
	w.changes = nil
	for end := w.at.Add(for_); w.at.Before(end); w.at = w.at.Add(time.Minute) {
		w.step(w.poisson(tr(w.at)))
	}
	return w.changes
}

func (w *world) step(pings int64) {
	var h guard.History
	for d := 1; d <= guard.Days; d++ {
		at := w.at.Add(-time.Duration(d) * 24 * time.Hour)
		if n, ok := w.minutes[at]; ok {
			h.Days = append(h.Days, guard.Past{At: at, Pings: n})
		}
	}
	if len(h.Days) < 3 { // it is of no use to the guard otherwise, and the dearest part of this test
		for back := 1; back <= 24*60 && len(h.Hour) < guard.Hour; back++ {
			at := w.at.Add(-time.Duration(back) * time.Minute)
			if n, ok := w.minutes[at]; ok {
				h.Hour = append(h.Hour, guard.Past{At: at, Pings: n})
			}
		}
	}
	was := w.state.Phase
	w.state = w.rules.Next(w.state, guard.Minute{At: w.at, Pings: pings, Processes: w.processes}, h)
	if w.state.Believed() {
		w.minutes[w.at] = pings
	} else {
		w.doubted[w.at] = pings
	}
	if w.state.Accepted {
		for at, n := range w.doubted {
			if !at.Before(w.state.Since) {
				w.minutes[at] = n
			}
		}
	}
	if was != "" && was != w.state.Phase {
		w.changes = append(w.changes, fmt.Sprintf("%s %s", w.at.Format("15:04"), w.state.Phase))
	}
}

func (w *world) poisson(mean float64) int64 {
	if mean <= 0 {
		return 0
	}
	if mean > 50 {
		return max(0, int64(math.Round(mean+math.Sqrt(mean)*w.rand.NormFloat64())))
	}
	n, p := int64(0), w.rand.Float64()
	for limit := math.Exp(-mean); p > limit; n++ {
		p *= w.rand.Float64()
	}
	return n
}

func flat(n float64) traffic { return func(time.Time) float64 { return n } }

// peaks are those of a service for cron jobs: ten times as many at the full hour, twice at every fifth minute, more by night.
func peaks(n float64) traffic {
	return func(at time.Time) float64 {
		v := n
		switch {
		case at.Minute() == 0:
			v *= 10
		case at.Minute()%5 == 0:
			v *= 2
		}
		if at.Hour() < 5 {
			v *= 1.5
		}
		return v
	}
}

func day(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

func (w *world) quiet(what string, got []string) {
	w.t.Helper()
	if len(got) > 0 {
		w.t.Errorf("%s: %s", what, strings.Join(got, ", "))
	}
}

func (w *world) want(got []string, want ...string) {
	w.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("changes of phase (-want +got):\n%s", d)
	}
}

func TestDaysWithoutAFallAreQuiet(t *testing.T) {
	t.Parallel()
	weekend := func(tr traffic, part float64) traffic {
		return func(at time.Time) float64 {
			// Jobs of many zones: the week ends over some hours.
			v := tr(at)
			into := at.Sub(epoch()) % day(7)
			if into >= day(5) {
				v *= 1 - (1-part)*min(1, (into-day(5)).Hours()/6)
			}
			return v
		}
	}
	for name, tr := range map[string]traffic{
		"flat":             flat(100),
		"few":              flat(22),
		"very few":         flat(3),
		"full hours":       peaks(200),
		"only full hours":  func(at time.Time) float64 { return map[bool]float64{true: 5000}[at.Minute() == 0] },
		"every other":      func(at time.Time) float64 { return float64(at.Minute()%2) * 200 },
		"growth":           func(at time.Time) float64 { return 50 * math.Exp(at.Sub(epoch()).Hours()/24/5) },
		"slow decline":     func(at time.Time) float64 { return 400 * math.Exp(-at.Sub(epoch()).Hours()/24/5) },
		"a decline of 5 h": func(at time.Time) float64 { return 400 * math.Exp(-max(0, at.Sub(epoch()).Hours()-120)/3) },
		"weekends":         weekend(peaks(200), 0.3),
		"a new customer": func(at time.Time) float64 {
			if at.Before(epoch().Add(day(4) + 10*time.Hour)) {
				return 100
			}
			return 1000
		},
	} {
		w := newWorld(t)
		w.quiet(name, w.run(day(16), tr))
	}
}

// The first weekend of jobs that stop all at once is taken for a fall, and for six hours: nobody could know. The second is not.
func TestAWeekendThatBeginsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tr := func(at time.Time) float64 {
		if at.Sub(epoch())%day(7) >= day(5) {
			return 60
		}
		return 300
	}
	w.quiet("the week", w.run(day(5), tr))
	w.want(w.run(day(2), tr), "00:00 suspicious", "00:02 incident", "06:00 normal")
	w.quiet("later weeks", w.run(day(28), tr))
}

func TestAnOutageOf5Minutes(t *testing.T) {
	t.Parallel()
	for name, days := range map[string]int{"the first day": 0, "the tenth day": 10} {
		w := newWorld(t)
		w.quiet(name, w.run(day(days)+10*time.Hour+30*time.Minute, peaks(200)))
		since := w.at
		w.want(w.run(5*time.Minute, flat(0)), "10:30 suspicious", "10:32 incident")
		if !w.state.Since.Equal(since) || !w.state.DetectedAt.Equal(since.Add(time.Minute)) || !w.state.EndedAt.IsZero() {
			t.Errorf("%s: %+v", name, w.state)
		}
		w.want(w.run(time.Hour, peaks(200)), "10:35 recovering", "10:39 normal")
		if !w.state.EndedAt.Equal(since.Add(10 * time.Minute)) {
			t.Errorf("%s: %+v", name, w.state)
		}
		w.quiet(name, w.run(day(3), peaks(200)))
	}
}

func TestAnOutageAtTheFullHour(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(day(5)+9*time.Hour+58*time.Minute, peaks(200))
	// At the full hour a tenth of what is usual comes, which for another minute would be well.
	w.want(w.run(4*time.Minute, flat(200)), "10:00 suspicious", "10:01 normal")
}

func TestAnOutageOf3Hours(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(day(8)+12*time.Hour, peaks(200))
	w.want(w.run(3*time.Hour, func(at time.Time) float64 { return peaks(200)(at) / 10 }), "12:00 suspicious", "12:02 incident")
	w.want(w.run(time.Hour, peaks(200)), "15:00 recovering", "15:04 normal")
	// What was missed then is no measure of the same hours of the next days.
	w.quiet("the next days", w.run(day(2)+20*time.Hour, peaks(200)))
	w.want(w.run(5*time.Minute, flat(20)), "12:00 suspicious", "12:02 incident")
}

func TestAFallOfASingleMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(day(8), flat(300))
	w.want(w.run(time.Minute, flat(40)), "00:00 suspicious")
	w.want(w.run(2*time.Minute, flat(300)), "00:01 normal")
}

func TestRecoveryIsNotBelievedAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(day(8), flat(300))
	w.want(w.run(4*time.Minute, flat(0)), "00:00 suspicious", "00:02 incident")
	w.want(w.run(2*time.Minute, flat(300)), "00:04 recovering")
	w.want(w.run(2*time.Minute, flat(100)), "00:06 incident")
	w.want(w.run(3*time.Minute, flat(300)), "00:08 recovering")
	w.quiet("neither well nor a fall", w.run(3*time.Minute, flat(210)))
	w.want(w.run(5*time.Minute, flat(300)), "00:18 normal")
}

func TestNobodyThereToTakePings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(day(8), flat(300))
	w.processes = 0
	w.want(w.run(2*time.Minute, flat(0)), "00:00 incident")
	w.processes = 1
	w.want(w.run(6*time.Minute, flat(300)), "00:02 recovering", "00:06 normal")
}

// A fall that lasts is the new usual after six hours, on the first day as later.
func TestALastingFall(t *testing.T) {
	t.Parallel()
	for _, days := range []int{0, 8} {
		w := newWorld(t)
		w.run(day(days)+12*time.Hour, flat(300))
		w.want(w.run(10*time.Hour, flat(90)), "12:00 suspicious", "12:02 incident", "18:00 normal")
		w.quiet("the next weeks", w.run(day(20)+2*time.Hour, flat(90)))
		w.want(w.run(3*time.Minute, flat(5)), "00:00 suspicious", "00:02 incident")
	}
}

// Where nothing but the full hour brings pings nobody can tell whether they would come again: the fall stands for a while.
func TestAFallOfWhichNoEndCanBeSeen(t *testing.T) {
	t.Parallel()
	only := func(n float64) traffic {
		return func(at time.Time) float64 {
			if at.Minute() == 0 {
				return n
			}
			return 1
		}
	}
	w := newWorld(t)
	w.run(day(5), only(1000))
	w.want(w.run(59*time.Minute, only(0)), "00:00 suspicious", "00:16 normal")
}

func TestARestartOfTheGuard(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(day(8), flat(300))
	w.at = w.at.Add(50 * time.Minute) // nobody judged them
	w.quiet("after a pause", w.run(time.Hour, flat(300)))
	w.want(w.run(3*time.Minute, flat(0)), "01:50 suspicious", "01:52 incident")
	w.at = w.at.Add(10 * time.Minute)
	w.want(w.run(6*time.Minute, flat(300)), "02:03 recovering", "02:07 normal")
	w.state = guard.State{} // and lost
	w.quiet("without its state", w.run(time.Hour, flat(300)))
}

func TestTheRulesAreOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rules = guard.Rules{Smallest: 1000}
	w.run(day(4), flat(300))
	w.quiet("small", w.run(time.Hour, flat(0)))
	w = newWorld(t)
	w.rules = guard.Rules{Confirm: 1, Settle: 1, Longest: time.Hour}
	w.run(day(4), flat(300))
	w.want(w.run(2*time.Minute, flat(0)), "00:00 incident")
	w.want(w.run(2*time.Minute, flat(300)), "00:02 normal")
}

func TestTheStateInWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run(day(4), flat(300))
	if got := w.state.String(); !strings.HasPrefix(got, "normal: ") || strings.Contains(got, "since") {
		t.Error(got)
	}
	w.step(0)
	if got := w.state.String(); !strings.HasPrefix(got, "suspicious: 0 pings in the minute 00:00, where ") ||
		!strings.HasSuffix(got, "; since 2026-03-06T00:00:00Z") {
		t.Error(got)
	}
}
