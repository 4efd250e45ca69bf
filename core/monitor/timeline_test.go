package monitor_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

// TestTimelines runs the scripts in testdata. A script is a list of cases, each begun by a line "# name":
//
//	config {"schedule":{"interval":"1h"},"grace":"10m"}     the configuration (defaults of this test: no grace, no anomaly)
//	09:00 success                    what happens: success, fail, start, log [rid=x] [exit=N] [duration=5s];
//	                                 pause, resume, delete, resolve KIND, gap FROM TO, tick, config {…}
//	09:00 → new up: success          and all that comes of it, in order: FROM TO: REASON
//	09:00 → run success 5m late 0s
//	10:10 → open missed              also: resolve KIND: REASON
//
// Of what comes of one step at the same instant, runs stand before incidents, and those before changes of status.
//
// A time may be preceded by dN, the day from 1; the day stays until the next.
func TestTimelines(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range strings.Split("\n"+string(text), "\n# ")[1:] {
			name, body, _ := strings.Cut(c, "\n")
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, func(t *testing.T) { runTimeline(t, body) })
		}
	}
}

type timeline struct {
	t     *testing.T
	day   int
	rules *monitor.Rules
	state monitor.State
	gaps  logclock.Gaps
	seq   int64
	rids  map[string]uuid.UUID
	got   []string
}

func runTimeline(t *testing.T, body string) {
	tl := &timeline{t: t, day: 1, rids: map[string]uuid.UUID{}}
	var want []string
	for line := range strings.SplitSeq(body, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "//") {
			continue
		}
		if config, ok := strings.CutPrefix(line, "config "); ok {
			tl.configure(at(1, "00:00"), config)
			continue
		}
		day, rest := tl.takeDay(line)
		clock, what, ok := strings.Cut(rest, " ")
		if !ok {
			t.Fatalf("what is %q?", line)
		}
		tl.day = day
		if effect, ok := strings.CutPrefix(what, "→ "); ok {
			want = append(want, fmt.Sprintf("d%d %s → %s", day, clock, effect))
			continue
		}
		tl.happen(at(day, clock), what)
	}
	if diff := cmp.Diff(want, tl.got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func (tl *timeline) takeDay(line string) (int, string) {
	if d, rest, ok := strings.Cut(line, " "); ok && d[0] == 'd' {
		if n, err := strconv.Atoi(d[1:]); err == nil {
			return n, rest
		}
	}
	return tl.day, line
}

func at(day int, clock string) time.Time {
	for _, layout := range []string{"15:04", "15:04:05"} {
		if c, err := time.Parse(layout, clock); err == nil {
			return time.Date(2026, 3, day, c.Hour(), c.Minute(), c.Second(), c.Nanosecond(), time.UTC)
		}
	}
	panic("time of day: " + clock)
}

func (tl *timeline) happen(at0 time.Time, what string) {
	verb, rest, _ := strings.Cut(what, " ")
	if verb != "gap" {
		tl.next(monitor.Event{Judged: at0.Add(-time.Microsecond)}) // what was due before
	}
	switch verb {
	case "tick":
		tl.next(monitor.Event{Judged: at0})
	case "config":
		tl.configure(at0, rest)
	case "pause":
		tl.control(at0, monitor.Control{Action: record.Pause})
	case "resume":
		tl.control(at0, monitor.Control{Action: record.Resume})
	case "delete":
		tl.control(at0, monitor.Control{Action: record.Delete})
	case "resolve":
		tl.control(at0, monitor.Control{Action: record.ResolveIncident, Incident: tl.state.Incidents[incident.Kind(rest)]})
	case "gap":
		from, to, _ := strings.Cut(rest, " ")
		g := logclock.Gap{From: at(tl.day, from), To: at(tl.day, to)}
		tl.gaps.Add(g)
		tl.next(monitor.Event{Judged: g.To})
	default:
		p := tl.ping(at0, verb, rest)
		tl.next(monitor.Event{Judged: at0, Ping: &p})
	}
}

func (tl *timeline) ping(at0 time.Time, verb, rest string) monitor.Ping {
	kind, ok := record.ParsePingKind(verb)
	if !ok {
		tl.t.Fatalf("what is %q?", verb)
	}
	tl.seq++
	p := monitor.Ping{
		ID: uuid.NewSHA1(uuid.Nil, []byte(strconv.FormatInt(tl.seq, 10))), At: at0, Kind: kind,
		ExitCode: record.NoExitCode, Duration: record.NoDuration,
	}
	for arg := range strings.FieldsSeq(rest) {
		k, v, _ := strings.Cut(arg, "=")
		switch k {
		case "rid":
			p.RID = uuid.NewSHA1(uuid.Nil, []byte(v))
		case "exit":
			n, _ := strconv.Atoi(v)
			p.ExitCode = int16(n)
		case "duration":
			d, _ := time.ParseDuration(v)
			p.Duration = d
		default:
			tl.t.Fatalf("what is %q?", arg)
		}
	}
	return p
}

func (tl *timeline) configure(at0 time.Time, text string) {
	c := monitor.DefaultConfig()
	c.Name, c.Grace, c.Anomaly.Enabled = "m", 0, false
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		tl.t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		tl.t.Fatal(err)
	}
	s, err := c.Schedule.Compile()
	if err != nil {
		tl.t.Fatal(err)
	}
	rules := monitor.NewRules(c, s)
	if tl.rules == nil {
		tl.rules = rules
	}
	tl.control(at0, monitor.Control{Action: record.Configure, Rules: rules})
	tl.rules = rules
}

func (tl *timeline) control(at0 time.Time, c monitor.Control) {
	c.At, c.Version = at0, tl.state.Version+1
	tl.next(monitor.Event{Judged: at0.Add(-time.Microsecond), Control: &c})
}

func (tl *timeline) next(e monitor.Event) {
	e.Gaps = &tl.gaps
	state, out := monitor.Next(uuid.Max, tl.rules, tl.state, e)
	tl.state = state
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	say := func(t time.Time, format string, args ...any) {
		clock := t.Format("15:04")
		if t.Second() != 0 {
			clock = t.Format("15:04:05")
		}
		lines = append(lines, line{t, fmt.Sprintf("d%d %s → %s", t.Day(), clock, fmt.Sprintf(format, args...))})
	}
	for _, r := range out.Runs {
		text := "run " + string(r.Outcome)
		if r.Duration >= 0 {
			text += " " + model.Duration(r.Duration).String()
		}
		if r.Lateness >= 0 {
			text += " late " + model.Duration(r.Lateness).String()
		}
		say(r.FinishedAt, "%s", text)
	}
	for _, i := range out.Incidents {
		if i.Resolved {
			say(i.At, "resolve %s: %s", i.Kind, i.Reason)
		} else {
			say(i.At, "open %s", i.Kind)
		}
	}
	for _, tr := range out.Transitions {
		say(tr.At, "%s %s: %s", tr.From, tr.To, tr.Reason)
	}
	if out.Deleted {
		say(e.Control.At, "deleted")
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	for _, l := range lines {
		tl.got = append(tl.got, l.text)
	}
}
