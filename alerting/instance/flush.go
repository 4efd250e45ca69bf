package instance

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/alert"
)

// member is what is known of an alert of a flush.
type member struct {
	hash    uint64 // as the notification log has it
	start   int64  // Unix microseconds: which occurrence it is. 0: somebody posted it, its occurrences are not told apart
	version int64
	known   bool // the table has this occurrence, or a later one
	same    bool // the table has this occurrence, in this state
	acked   bool
}

type membersKey struct{}

// membersOf returns what is known of the alerts of the flush under way, by fingerprint.
func membersOf(ctx context.Context) map[model.Fingerprint]member {
	m, _ := ctx.Value(membersKey{}).(map[model.Fingerprint]member)
	return m
}

// flushes is the outermost stage of a configuration's pipeline. It lets a delivery end though the dispatcher is being stopped, says
// which occurrences of which alerts the flush is about, and has the resolved ones removed when every route has dealt with them.
type flushes struct {
	next   notify.Stage
	book   *book
	log    *logbook
	saver  *saver // nil: nothing is removed
	routes *dispatch.Route

	mu     sync.Mutex
	shut   bool
	n      int           // under way
	empty  chan struct{} // closed when shut and the last has ended
	killed context.Context
	kill   context.CancelFunc
}

// newFlushes returns the stage; what comes next is to be set, and the saver.
func newFlushes(life context.Context, b *book, log *logbook, routes *dispatch.Route) *flushes {
	killed, kill := context.WithCancel(life)
	return &flushes{book: b, log: log, routes: routes, empty: make(chan struct{}), killed: killed, kill: kill}
}

// Exec implements notify.Stage.
func (f *flushes) Exec(ctx context.Context, l *slog.Logger, alerts ...*amalert.Alert) (context.Context, []*amalert.Alert, error) {
	if !f.enter() {
		<-ctx.Done() // the dispatcher is being stopped
		return ctx, nil, ctx.Err()
	}
	defer f.leave()
	run, cancel := f.detach(ctx)
	defer cancel()

	group, ok := notify.GroupKey(ctx)
	if !ok {
		return ctx, nil, errors.New("group key missing")
	}
	receiver, _ := notify.ReceiverName(ctx)
	members := f.members(ctx, alerts)
	starts := make(map[uint64]int64, len(members))
	for _, m := range members {
		if m.start != 0 {
			starts[m.hash] = m.start
		}
	}
	end := f.log.begin(flushKey{group, receiver}, starts)
	defer end()

	_, out, err := f.next.Exec(context.WithValue(run, membersKey{}, members), l, alerts...)
	if err == nil {
		f.settle(ctx, alerts, members)
	}
	return ctx, out, err
}

// detach gives the delivery a context that ends at the flush's deadline, or when it is killed, but not with the dispatcher: a request
// that is broken off may have been taken, and would be made again.
func (f *flushes) detach(ctx context.Context) (context.Context, context.CancelFunc) {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if deadline, ok := ctx.Deadline(); ok {
		cancel() // of the one without a deadline
		run, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
	}
	stop := context.AfterFunc(f.killed, cancel)
	return run, func() { stop(); cancel() }
}

func (f *flushes) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shut {
		return false
	}
	f.n++
	return true
}

func (f *flushes) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 && f.shut {
		close(f.empty)
	}
}

// drain lets no flush begin, and waits for those under way: for grace until they end by themselves, then for as long until they are
// broken off.
func (f *flushes) drain(grace time.Duration) {
	f.mu.Lock()
	if !f.shut {
		f.shut = true
		if f.n == 0 {
			close(f.empty)
		}
	}
	f.mu.Unlock()
	defer f.kill()
	if f.wait(grace) {
		return
	}
	f.kill()
	f.wait(grace)
}

func (f *flushes) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-f.empty:
		return true
	case <-timer.C:
		return false
	}
}

// members looks the alerts of a flush up.
func (f *flushes) members(ctx context.Context, alerts []*amalert.Alert) map[model.Fingerprint]member {
	out := make(map[model.Fingerprint]member, len(alerts))
	hashes := hashesOf(ctx, alerts)
	for i, a := range alerts {
		m, fp := member{hash: hashes[i]}, a.Fingerprint()
		if e, ok := f.book.get(fp); ok {
			m.version = e.Version
			if e.Source != alert.FromAPI {
				m.start = a.StartsAt.UnixMicro()
			}
			m.known = !e.StartsAt.Before(a.StartsAt)
			m.same = e.put.UpdatedAt.Equal(a.UpdatedAt)
			m.acked = !e.AcknowledgedAt.IsZero() && (e.Source == alert.FromAPI || e.StartsAt.Equal(a.StartsAt))
		}
		out[fp] = m
	}
	return out
}

// settle notes that the route has dealt with the resolved alerts of a flush, and has those removed with which all routes are done.
func (f *flushes) settle(ctx context.Context, alerts []*amalert.Alert, members map[model.Fingerprint]member) {
	if f.saver == nil {
		return
	}
	route, ok := notify.RouteID(ctx)
	if !ok {
		return
	}
	var done []alert.Key
	for _, a := range alerts {
		m := members[a.Fingerprint()]
		if !a.Resolved() || !m.same {
			continue
		}
		routes := map[string]struct{}{}
		for _, r := range f.routes.Match(a.Labels) {
			routes[r.ID()] = struct{}{}
		}
		if key, last := f.book.handled(a.Fingerprint(), m.version, route, routes); last {
			done = append(done, key)
		}
	}
	f.saver.remove(done)
}

// hashesOf returns what Alertmanager's notification log calls each of the alerts. Only the stage that asks the log can tell: so it is
// made to.
func hashesOf(ctx context.Context, alerts []*amalert.Alert) []uint64 {
	firing := make([]*amalert.Alert, len(alerts)) // those that fire are named in their order
	for i, a := range alerts {
		copied := *a
		copied.EndsAt = time.Time{}
		firing[i] = &copied
	}
	ctx = notify.WithRepeatInterval(notify.WithGroupKey(ctx, "hashes"), time.Hour)
	ctx, _, err := notify.NewDedupStage(always{}, always{}, &nflogpb.Receiver{}).Exec(ctx, nil, firing...)
	hashes, ok := notify.FiringAlerts(ctx)
	if err != nil || !ok || len(hashes) != len(alerts) {
		return make([]uint64, len(alerts)) // it never comes to this; then nothing is told apart, as in a plain Alertmanager
	}
	return hashes
}

// always is a notification log that knows nothing, and a receiver that is told everything.
type always struct{}

// SendResolved implements notify.ResolvedSender.
func (always) SendResolved() bool { return true }

// Log implements notify.NotificationLog.
func (always) Log(*nflogpb.Receiver, string, []uint64, []uint64, *nflog.Store, time.Duration) error {
	return nil
}

// Query implements notify.NotificationLog.
func (always) Query(...nflog.QueryParam) ([]*nflogpb.Entry, error) { return nil, nflog.ErrNotFound }
