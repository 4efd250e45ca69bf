package evaluator

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/checkpoint"
	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// excerptLen is how much of a failed ping's body, in bytes, goes into the evidence of an incident.
const excerptLen = 2000

// partition is the state of one partition in memory, and what has become of it since the last checkpoint. It does no I/O
// and knows no clock but the log's.
type partition struct {
	pos      checkpoint.Position
	clock    logclock.Clock
	gaps     *logclock.Gaps
	monitors map[uuid.UUID]*entry
	timers   timers
	compiler compiler
	census   census

	next    int64 // offset behind the last record applied
	dirty   []*entry
	urgent  bool // something that a person waits for is to be written
	pending checkpoint.Commit
}

// entry is one monitor in memory.
type entry struct {
	checkpoint.Ref
	rules         *monitor.Rules
	state         monitor.State
	queued        time.Time // its earliest place among the timers; zero: none
	dirty         bool
	configChanged bool
	gone          bool // deleted
}

// newPartition takes over what the last checkpoint left. A configuration that cannot be read any more is a fault of its monitor
// alone: nothing is due for it until it is mended.
func newPartition(snap checkpoint.Snapshot) (*partition, []error) {
	var faults []error
	p := &partition{
		pos:      snap.Position,
		clock:    snap.Clock,
		gaps:     logclock.NewGaps(snap.Gaps),
		monitors: make(map[uuid.UUID]*entry, len(snap.Monitors)),
		next:     snap.Position.Offset,
	}
	for i := range snap.Monitors {
		m := &snap.Monitors[i]
		rules, err := p.compiler.rules(m.Config)
		if err != nil {
			faults = append(faults, fmt.Errorf("monitor %s: %w", m.ID, err))
			rules = monitor.NewRules(m.Config, schedule.Schedule{})
		}
		e := &entry{Ref: checkpoint.Ref{Org: m.Org, Monitor: m.ID}, rules: rules, state: m.State}
		p.monitors[m.ID] = e
		p.census.count(&e.state, 1)
		p.timers.set(e, e.state.Timer())
	}
	return p, faults
}

// apply takes the next record. An error says that the record could not be understood; it has then no effect but on the
// offset.
func (p *partition) apply(rec record.Entry) error {
	p.next = rec.Offset + 1
	h, fresh, err := p.clock.Observe(rec.Value)
	if err != nil || !fresh {
		return err
	}
	for _, g := range p.clock.TakeGaps() {
		p.gaps.Add(g)
		p.pending.Gaps = append(p.pending.Gaps, g)
	}
	p.advance(p.clock.Judged())
	switch h.Type {
	case record.TypePing:
		return p.ping(rec.Value)
	case record.TypeControl:
		return p.control(rec.Value)
	case record.TypeMarker: // the clock has taken it
	case record.TypeSamples: // they have a log of their own
	}
	return nil
}

// advance judges every timer up to t.
func (p *partition) advance(t time.Time) {
	for {
		e := p.timers.due(t)
		if e == nil {
			return
		}
		p.step(e, monitor.Event{Judged: t})
	}
}

func (p *partition) ping(rec []byte) error {
	in, err := record.ParsePing(rec)
	if err != nil {
		return err
	}
	e := p.monitors[in.Monitor]
	if e == nil || e.Org != in.Org || in.Kind == record.Log {
		return nil // deleted meanwhile, or a note
	}
	ping := monitor.Ping{ID: in.ID, At: p.instant(in.At), Kind: in.Kind, RID: in.RID, ExitCode: in.ExitCode, Duration: in.Duration}
	if in.Kind == record.Fail {
		ping.Output = excerpt(in.Body)
	}
	p.step(e, monitor.Event{Judged: p.clock.Judged(), Ping: &ping})
	return nil
}

// instant is the time of a record by the partition's clock.
func (p *partition) instant(at time.Time) time.Time {
	if j := p.clock.Judged(); at.Before(j) {
		return j
	}
	return at
}

func (p *partition) control(rec []byte) error {
	in, err := record.ParseControl(rec)
	if err != nil {
		return err
	}
	c := monitor.Control{At: p.instant(in.At), Action: in.Action, Version: in.Version}
	e := p.monitors[in.Monitor]
	switch in.Action {
	case record.Configure:
		var config monitor.Config
		if err := json.Unmarshal(in.Config, &config); err != nil {
			return fmt.Errorf("configuration of monitor %s: %w", in.Monitor, err)
		}
		if c.Rules, err = p.compiler.rules(config); err != nil {
			return fmt.Errorf("configuration of monitor %s: %w", in.Monitor, err)
		}
		if e == nil {
			e = &entry{Ref: checkpoint.Ref{Org: in.Org, Monitor: in.Monitor}, rules: c.Rules}
			p.monitors[in.Monitor] = e
		}
	case record.ResolveIncident:
		if c.Incident, err = uuid.FromBytes(in.Config); err != nil {
			return fmt.Errorf("incident to resolve: %w", err)
		}
	case record.Pause, record.Resume, record.Delete:
	}
	if e == nil || e.Org != in.Org || in.Version <= e.state.Version {
		return nil
	}
	p.step(e, monitor.Event{Judged: p.clock.Judged(), Control: &c})
	p.urgent = true
	if c.Rules != nil {
		e.rules, e.configChanged = c.Rules, true
	}
	if c.Rules != nil || e.gone {
		p.pending.Versions = append(p.pending.Versions, checkpoint.Version{
			Ref: e.Ref, At: took(&e.state, c.At), Deleted: e.gone, Config: e.rules.Config,
		})
	}
	return nil
}

// took is when the control that led to the state took effect: not before what had happened already.
func took(s *monitor.State, at time.Time) time.Time {
	for _, t := range []time.Time{s.Since, s.LastPing.At} {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// step applies one event to one monitor and keeps what came of it for the checkpoint.
func (p *partition) step(e *entry, ev monitor.Event) {
	ev.Gaps = p.gaps
	state, out := monitor.Next(e.Monitor, e.rules, e.state, ev)
	p.census.count(&e.state, -1)
	if !out.Deleted {
		p.census.count(&state, 1)
	}
	e.state = state
	for _, r := range out.Runs {
		p.pending.Runs = append(p.pending.Runs, checkpoint.Run{Ref: e.Ref, Run: r})
	}
	for _, t := range out.Transitions {
		p.pending.Transitions = append(p.pending.Transitions, checkpoint.Transition{Ref: e.Ref, Transition: t})
		// Every run of a cron monitor is late for an instant; that may wait for the others.
		p.urgent = p.urgent || t.From == monitor.New || t.From == monitor.Down || t.To == monitor.Down
	}
	c := &e.rules.Config
	for _, i := range out.Incidents {
		p.pending.Incidents = append(p.pending.Incidents, checkpoint.Incident{
			Ref: e.Ref, Change: i, Name: c.Name, Slug: c.Slug, Tags: c.Tags, Labels: c.Labels,
		})
		p.urgent = true
	}
	if out.Deleted {
		delete(p.monitors, e.Monitor)
		e.gone = true
		p.pending.Deleted = append(p.pending.Deleted, e.Ref)
		return
	}
	p.timers.tidy(p.monitors)
	if !e.dirty {
		e.dirty = true
		p.dirty = append(p.dirty, e)
	}
	p.timers.set(e, e.state.Timer())
}

// commit is everything since the last checkpoint, to be written. done forgets it, once it is.
func (p *partition) commit() checkpoint.Commit {
	c := p.pending
	c.Position, c.Next, c.Clock = p.pos, p.next, &p.clock
	c.Monitors = make([]checkpoint.Monitor, 0, len(p.dirty))
	for _, e := range p.dirty {
		if !e.gone {
			c.Monitors = append(c.Monitors, checkpoint.Monitor{
				Org: e.Org, ID: e.Monitor, Config: e.rules.Config, State: e.state, ConfigChanged: e.configChanged,
			})
		}
	}
	return c
}

func (p *partition) done() {
	for _, e := range p.dirty {
		e.dirty, e.configChanged = false, false
	}
	p.dirty = p.dirty[:0]
	p.pending = checkpoint.Commit{}
	p.urgent = false
	p.pos.Offset = p.next
}

// changed reports whether a checkpoint would write more than the offset.
func (p *partition) changed() bool {
	return len(p.dirty) > 0 || len(p.pending.Deleted) > 0 || len(p.pending.Gaps) > 0
}

// excerpt is the beginning of a body as text that PostgreSQL's jsonb takes.
func excerpt(body []byte) string {
	b := body[:min(len(body), excerptLen)]
	for len(b) < len(body) && len(b) > 0 && !utf8.RuneStart(body[len(b)]) {
		b = b[:len(b)-1]
	}
	out := make([]rune, 0, len(b))
	for _, r := range string(b) {
		if r == 0 {
			r = utf8.RuneError
		}
		out = append(out, r)
	}
	return string(out)
}

var errUnknownPartition = errors.New("the partition is not assigned")
