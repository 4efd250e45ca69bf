package quiet

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"

	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// stormPrefix begins the group key of a storm's notification. No route of Alertmanager's has such a key: a matcher has an operator.
const stormPrefix = "{storm}:"

// LogReader reads the notification log.
type LogReader interface {
	Query(params ...nflog.QueryParam) ([]*nflogpb.Entry, error)
}

// Pipeline is where the stage stands.
type Pipeline struct {
	// Next is what comes after the stage: it asks the log, delivers, and writes the log.
	Next notify.Stage
	// Whole is the pipeline from its first stage on, to which this stage belongs. What the stage tells itself begins there, so that it
	// is muted, silenced and counted like the flush of any group. nil: Next.
	Whole        notify.Stage
	Log          LogReader
	Integrations map[string][]notify.Integration // by receiver
}

// StormOptions are how Storms works. A zero field but Rules.Limit is its default; a nil logger is none.
type StormOptions struct {
	Org    tenant.OrgID
	Rules  quiet.StormRules
	First  time.Duration // from the first alert of a storm to its message; 5 s
	Every  time.Duration // from message to message while it changes; 15 s
	Logger *slog.Logger
}

// Storms is a stage that makes one notification of many: when more than a limit of groups have their first notification at one
// receiver within a minute, their alerts become members of a storm, a group of its own with its own timer. A member stays until it
// is resolved and told. Groups that were told on their own stay on their own.
//
// A flush of a group whose alerts are members succeeds at once if they fire: nothing was written to the log of its name, so whoever
// starts anew tells them, unless the storm's entry in the log has them: then they are members again, and nobody is told twice. A
// flush that holds resolved members succeeds only after the storm's message told them so.
//
// It implements notify.Stage. Safe for concurrent use.
type Storms struct {
	o    StormOptions
	p    Pipeline
	ctx  context.Context // the life of the stage, which ends with Stop
	stop context.CancelFunc
	runs sync.WaitGroup

	mu        sync.Mutex
	receivers map[string]*receiver
}

// receiver is what is known of first notifications to one receiver.
type receiver struct {
	name   string
	storm  *quiet.Storm
	on     bool                   // as it was seen last
	began  chan struct{}          // closed when a storm begins
	groups map[string]*stormGroup // by group key; there is more than one where routes have different time intervals
	looked map[string]struct{}    // group keys whose entries in the log were looked at
}

// NewStorms makes a stage that stands in the pipeline. It must be stopped.
func NewStorms(o StormOptions, p Pipeline) *Storms {
	o.Rules = o.Rules.Filled()
	if o.First == 0 {
		o.First = 5 * time.Second
	}
	if o.Every == 0 {
		o.Every = 15 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if p.Whole == nil {
		p.Whole = p.Next
	}
	ctx, stop := context.WithCancel(context.Background())
	return &Storms{o: o, p: p, ctx: ctx, stop: stop, receivers: map[string]*receiver{}}
}

// Stop ends what waits, and begins no notification any more. It does not wait: Wait does. It may be called twice.
func (s *Storms) Stop() { s.stop() }

// Wait returns when the last notification under way has ended, after Stop.
func (s *Storms) Wait() { s.runs.Wait() }

// Exec implements notify.Stage.
func (s *Storms) Exec(ctx context.Context, l *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	f, ok := s.flushOf(ctx, alerts)
	if !ok {
		return s.p.Next.Exec(ctx, l, alerts...)
	}
	belongs, err := s.belongs(ctx, f)
	if err != nil {
		return ctx, nil, err
	}
	if !belongs {
		return s.p.Next.Exec(ctx, l, alerts...)
	}
	return ctx, alerts, s.join(ctx, f)
}

// flush is one of a group of the dispatcher's.
type flush struct {
	group    string
	receiver string
	key      string // of the storm that its alerts would be members of
	repeat   time.Duration
	mute     []string
	active   []string
	patience time.Duration // how long its alerts are members without another flush of it
	alerts   []*amalert.Alert
}

// flushOf reads a flush. ok is false for one that no storm is about.
func (s *Storms) flushOf(ctx context.Context, alerts []*amalert.Alert) (f flush, ok bool) {
	f.alerts = alerts
	f.group, _ = notify.GroupKey(ctx)
	f.receiver, _ = notify.ReceiverName(ctx)
	f.repeat, _ = notify.RepeatInterval(ctx)
	f.mute, _ = notify.MuteTimeIntervalNames(ctx)
	f.active, _ = notify.ActiveTimeIntervalNames(ctx)
	if s.o.Rules.Limit <= 0 || strings.HasPrefix(f.group, stormPrefix) || len(s.p.Integrations[f.receiver]) == 0 || len(alerts) == 0 {
		return f, false
	}
	f.key = stormPrefix + f.receiver
	if len(f.mute)+len(f.active) > 0 {
		f.key += fmt.Sprintf(":mute=%q,active=%q", f.mute, f.active)
	}
	f.patience = 15 * time.Minute
	if deadline, has := ctx.Deadline(); has { // the group's interval, about
		f.patience = 3*time.Until(deadline) + s.o.Every
	}
	return f, true
}

// belongs decides whether the alerts of a flush are members of a storm. It may wait for the rules' Hold.
func (s *Storms) belongs(ctx context.Context, f flush) (bool, error) {
	told, err := s.toldAlone(f)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	r := s.receiver(f.receiver)
	if g := r.groups[f.key]; g != nil && g.origins[f.group] != nil {
		s.mu.Unlock()
		return true, nil
	}
	if told {
		s.mu.Unlock()
		return false, nil
	}
	known, err := s.look(ctx, r, f)
	if known || err != nil {
		s.mu.Unlock()
		return known, err
	}
	verdict := r.storm.First(f.group, time.Now())
	s.note(r)
	began := r.began
	s.mu.Unlock()

	if verdict != quiet.Wait {
		return verdict == quiet.Join, nil
	}
	hold := time.NewTimer(s.o.Rules.Hold)
	defer hold.Stop()
	select {
	case <-began:
	case <-hold.C:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-s.ctx.Done():
		return false, s.ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(r)
	return r.on, nil
}

// receiver returns what is known of a receiver. The lock is held.
func (s *Storms) receiver(name string) *receiver {
	r := s.receivers[name]
	if r == nil {
		r = &receiver{
			name: name, storm: quiet.NewStorm(s.o.Rules), began: make(chan struct{}),
			groups: map[string]*stormGroup{}, looked: map[string]struct{}{},
		}
		s.receivers[name] = r
	}
	return r
}

// note follows the beginning and the end of a storm. The lock is held.
func (s *Storms) note(r *receiver) {
	on := r.storm.On(time.Now())
	if on == r.on {
		return
	}
	r.on = on
	log := s.o.Logger.With("org_id", s.o.Org, "receiver", r.name)
	if on {
		close(r.began)
		log.Warn("alert storm begins: further groups are told together", "limit", s.o.Rules.Limit, "window", s.o.Rules.Window)
		return
	}
	r.began = make(chan struct{})
	log.Info("alert storm ends: further groups are told on their own")
}
