package guard_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/alerting/guard"
	core "github.com/tokiflow/tokiflow/core/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store that keeps the minutes it was stepped through.
type memory struct {
	mu      sync.Mutex
	state   core.State
	stepped []string // when, and which minute
	pings   int64
	err     error
}

func (m *memory) GuardState(context.Context) (core.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.err
}

func (m *memory) StepGuard(_ context.Context, through time.Time, next func(core.State, core.Minute, core.History) core.State) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return false, m.err
	}
	at := through
	if !m.state.Minute.IsZero() {
		at = m.state.Minute.Add(time.Minute)
	}
	if at.After(through) {
		return false, nil
	}
	h := core.History{}
	for i := range core.Days {
		h.Days = append(h.Days, core.Past{At: at.Add(-time.Duration(i+1) * 24 * time.Hour), Pings: 100})
	}
	m.state = next(m.state, core.Minute{At: at, Pings: m.pings, Processes: 1}, h)
	m.stepped = append(m.stepped, time.Now().UTC().Format("15:04:05")+" "+at.Format("15:04"))
	return true, nil
}

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *memory) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stepped
	m.stepped = nil
	return s
}

// run starts the guard and returns what ends it.
func run(t *testing.T, o guard.Options) (*guard.Guard, func()) {
	t.Helper()
	g, err := guard.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	return g, func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// The clock of synctest begins at midnight of 2000-01-01.
func TestMinutesAreJudgedTenSecondsAfterTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{pings: 100}
		_, stop := run(t, guard.Options{Store: m, Judge: true})
		defer stop()
		time.Sleep(24 * time.Second)
		synctest.Wait()
		if got := m.take(); got != nil {
			t.Errorf("judged before the counters had their time: %v", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		want := []string{"00:00:25 23:59", "00:01:10 00:00", "00:02:10 00:01"}
		if d := cmp.Diff(want, m.take()); d != "" {
			t.Error(d)
		}
	})
}

func TestTheDatabaseIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		m := &memory{pings: 100}
		g, stop := run(t, guard.Options{Store: m, Judge: true, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		m.take()
		m.set(func() { m.err = errors.New("it is away") })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if s := g.State(); s.Phase != core.Normal {
			t.Errorf("%+v", s)
		}
		m.set(func() { m.err = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		// After it is back, who counted pings meanwhile goes first.
		got := m.take()
		if len(got) < 5 || !strings.HasPrefix(got[0], "00:08:30 ") || !strings.HasPrefix(got[4], "00:08:30 ") {
			t.Errorf("%v", got)
		}
		stop()
		if n := strings.Count(said.String(), "it is away"); n != 1 || !strings.Contains(said.String(), "looks at the database again") {
			t.Errorf("it said %d times:\n%s", n, said.String())
		}
	})
}

func TestAFallIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		registry := prometheus.NewRegistry()
		m := &memory{pings: 100}
		g, stop := run(t, guard.Options{Store: m, Judge: true, Registerer: registry, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		other, stopOther := run(t, guard.Options{Store: m})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if g.Detail() != "" {
			t.Error(g.Detail())
		}
		m.set(func() { m.pings = 7 })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := g.Detail(); got != "guard: suspicious: 7 pings in the minute 00:01, where 100 were to be expected; since 2000-01-01T00:01:00Z" {
			t.Error(got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if other.State().Phase != core.Suspicious {
			t.Errorf("who only reads: %+v", other.State())
		}
		want := `
# HELP tokiflow_guard_expected_pings Pings that the last judged minute was to bring; 0: it cannot be told. The same in every process.
# TYPE tokiflow_guard_expected_pings gauge
tokiflow_guard_expected_pings 100
# HELP tokiflow_guard_pings Pings that the last judged minute brought, of the whole installation. The same in every process.
# TYPE tokiflow_guard_pings gauge
tokiflow_guard_pings 7
# HELP tokiflow_guard_state 1 for the state of the installation guard: normal, suspicious, incident or recovering. The same in every process.
# TYPE tokiflow_guard_state gauge
tokiflow_guard_state{state="incident"} 0
tokiflow_guard_state{state="normal"} 0
tokiflow_guard_state{state="recovering"} 0
tokiflow_guard_state{state="suspicious"} 1
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		stop()
		stopOther()
		if !strings.Contains(said.String(), "level=WARN") || !strings.Contains(said.String(), "guard=suspicious was=normal") {
			t.Error(said.String())
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	if _, err := guard.New(guard.Options{}); err == nil {
		t.Error("no store")
	}
	r := prometheus.NewRegistry()
	if _, err := guard.New(guard.Options{Store: &memory{}, Registerer: r}); err != nil {
		t.Error(err)
	}
	if _, err := guard.New(guard.Options{Store: &memory{}, Registerer: r}); err == nil {
		t.Error("registered twice")
	}
}

func T(clock string) time.Time {
	at, err := time.Parse("15:04:05", clock)
	if err != nil {
		panic(err)
	}
	return time.Date(2000, 1, 1, at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
}

// mutes asks a guard in that state.
func mutes(t *testing.T, s core.State, now string, hold time.Duration, a *amalert.Alert) bool {
	t.Helper()
	var muted bool
	synctest.Test(t, func(t *testing.T) {
		g, stop := run(t, guard.Options{Store: &memory{state: s}, Hold: hold, Clock: func() time.Time { return T(now) }})
		defer stop()
		synctest.Wait()
		by, is := g.Mutes(a)
		if is != (by != "") {
			t.Errorf("muted by %q: %v", by, is)
		}
		muted = is
	})
	return muted
}

func TestWhatIsHeldBack(t *testing.T) {
	fallen := core.State{Phase: core.Incident, Since: T("12:00:00"), DetectedAt: T("12:01:00")}
	over := core.State{Phase: core.Normal, Since: T("12:00:00"), DetectedAt: T("12:01:00"), EndedAt: T("12:20:00")}
	phase := func(p core.Phase) core.State { s := fallen; s.Phase = p; return s }
	for _, c := range []struct {
		what       string
		state      core.State
		now        string
		name       string
		start, end string // end: resolved, and known to be at once
		want       bool
	}{
		{"missed in the fall", fallen, "12:05:00", "MonitorMissed", "12:04:00", "", true},
		{"late in the fall", fallen, "12:05:00", "MonitorLate", "12:04:00", "", true},
		{"in the fall's first second", fallen, "12:05:00", "MonitorMissed", "12:00:00", "", true},
		{"suspicious", phase(core.Suspicious), "12:05:00", "MonitorMissed", "12:04:00", "", true},
		{"recovering", phase(core.Recovering), "12:05:00", "MonitorMissed", "12:04:00", "", true},
		{"failed", fallen, "12:05:00", "MonitorFailed", "12:04:00", "", false},
		{"somebody's own", fallen, "12:05:00", "Watchdog", "12:04:00", "", false},
		{"before the fall", fallen, "12:05:00", "MonitorMissed", "11:59:59", "", false},
		{"just before it was held for long enough", fallen, "12:18:59", "MonitorMissed", "12:04:00", "", true},
		{"held for long enough", fallen, "12:19:00", "MonitorMissed", "12:04:00", "", false},
		{"the fall is over", over, "12:21:00", "MonitorMissed", "12:14:00", "", false},
		{"no fall ever", core.State{Phase: core.Normal}, "12:05:00", "MonitorMissed", "12:04:00", "", false},

		{"recovered meanwhile", fallen, "12:07:00", "MonitorMissed", "12:04:00", "12:06:00", true},
		{"recovered meanwhile, and the fall too", over, "12:40:00", "MonitorMissed", "12:14:00", "12:16:00", true},
		{"maybe told before the fall was known", fallen, "12:07:00", "MonitorMissed", "12:01:10", "12:06:00", false},
		{"recovered after it was told", fallen, "12:30:00", "MonitorMissed", "12:04:00", "12:20:00", false},
		{"recovered while it was told", fallen, "12:30:00", "MonitorMissed", "12:04:00", "12:18:58", false},
		{"recovered after the fall", over, "12:40:00", "MonitorMissed", "12:14:00", "12:21:00", false},
		{"began after the fall", over, "12:40:00", "MonitorMissed", "12:24:00", "12:25:00", false},
	} {
		a := &amalert.Alert{UpdatedAt: T(c.start), Alert: model.Alert{Labels: model.LabelSet{"alertname": model.LabelValue(c.name)}, StartsAt: T(c.start)}}
		if c.end != "" {
			a.EndsAt, a.UpdatedAt = T(c.end), T(c.end)
		}
		if got := mutes(t, c.state, c.now, 0, a); got != c.want {
			t.Errorf("%s: held back %v", c.what, got)
		}
	}
}

func TestHoldIsAnOption(t *testing.T) {
	fallen := core.State{Phase: core.Incident, Since: T("12:00:00"), DetectedAt: T("12:01:00")}
	a := &amalert.Alert{Alert: model.Alert{Labels: model.LabelSet{"alertname": "MonitorMissed"}, StartsAt: T("12:04:00")}}
	if mutes(t, fallen, "12:06:00", time.Minute, a) || !mutes(t, fallen, "12:04:30", time.Minute, a) || mutes(t, fallen, "12:04:30", -1, a) {
		t.Error("the option is not followed")
	}
	// A recovery that became known late may have been told as firing before.
	a.EndsAt, a.UpdatedAt = T("12:06:00"), T("12:19:30")
	if mutes(t, fallen, "12:20:00", 0, a) {
		t.Error("a recovery is lost")
	}
}
