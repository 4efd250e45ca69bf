package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/client"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/record"
)

// DetectOptions describe one measurement of how soon a missed run is told.
type DetectOptions struct {
	BaseURL  string
	APIKey   string
	Listener net.Listener // where the webhooks arrive: the server's --alert-webhook points to it, unless Routed
	Routed   bool         // through the organisation's routes: a configuration is put for the time of the measurement
	Secret   string       // of the webhooks; empty: signatures are not checked
	Monitors int
	Silent   int // how many of them go silent
	Interval time.Duration
	Grace    time.Duration
	Settle   time.Duration // how long all are pinged before some go silent
	Wait     time.Duration // how long after a deadline its webhook is waited for
	Keep     bool          // leave the monitors behind
	Say      func(format string, args ...any)
}

func (o DetectOptions) check() error {
	switch {
	case o.Monitors < 1 || o.Silent < 1 || o.Silent > o.Monitors:
		return errors.New("at least one monitor must go silent, and at most all of them")
	case o.Interval < time.Second || o.Grace < 0:
		return errors.New("the interval must be at least 1s, the grace at least 0s")
	case o.Wait <= 0:
		return errors.New("the time to wait must be above 0")
	}
	return nil
}

// DetectResult is what was seen. All is well when Faults is empty.
type DetectResult struct {
	Opened   Histogram // deadline → the incident's opened_at
	Told     Histogram // deadline → the webhook's receipt
	Sent     Histogram // opened_at → the webhook's receipt
	Resolved Histogram // answer to the ping that ends it → the webhook's receipt
	Repeated int       // webhooks that came again: allowed
	Excluded int       // monitors that this program itself pinged too late: nothing is said of them
	Faults   []string
}

// Detect makes monitors, pings them all, lets some go silent and measures when that is told; then it pings those again.
func Detect(ctx context.Context, o DetectOptions) (*DetectResult, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	admin, err := NewAdmin(o.BaseURL, o.APIKey)
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	pinger, err := client.New(client.Options{BaseURL: o.BaseURL, Attempt: 2 * time.Second, GiveUp: time.Minute})
	if err != nil {
		return nil, err
	}
	defer pinger.Close()
	hooks, err := newReceiver(o.Secret)
	if err != nil {
		return nil, err
	}
	d := &detection{o: o, admin: admin, pinger: pinger, hooks: hooks}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var handler http.Handler = hooks
	if o.Routed {
		handler = routed{hooks}
		remove, err := admin.putRoutes(ctx, "http://"+o.Listener.Addr().String()+"/")
		if err != nil {
			return nil, err
		}
		defer func() {
			// The measurement may have been interrupted; what it put goes all the same.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			if err := remove(ctx); err != nil {
				o.Say("the alerting configuration of this measurement was not removed: %v", err)
			}
		}()
	}
	var background sync.WaitGroup
	background.Go(func() { d.listenError = serve(ctx, o.Listener, handler) })
	err = d.run(ctx)
	cancel()
	background.Wait()
	if d.listenError != nil {
		return nil, fmt.Errorf("the webhook listener: %w", d.listenError)
	}
	return &d.result, err
}

// detection is one measurement under way.
type detection struct {
	o           DetectOptions
	admin       *Admin
	pinger      *client.Client
	hooks       *receiver
	listenError error
	all         []*watched
	result      DetectResult
}

// watched is one monitor and what was seen of it.
type watched struct {
	Monitor
	silent bool

	// Written by whoever pings it.
	sent     time.Time     // the last ping before the silence, or the only one after it
	answered time.Time     // zero: no ping was ever taken
	slow     time.Duration // the longest time that may have lain between the receipts of two pings
	trouble  error         // of the latest ping that was not taken

	// Written by whoever takes the webhooks.
	opened   *Received
	resolved *Received
	alarms   []Received // of a monitor that was pinged all the time
}

func (d *detection) fault(format string, args ...any) {
	d.result.Faults = append(d.result.Faults, fmt.Sprintf(format, args...))
}

func (d *detection) run(ctx context.Context) error {
	o := d.o
	made, err := d.admin.Make(ctx, Spec{
		Prefix: fmt.Sprintf("detect-%x", time.Now().UnixMilli()), Count: o.Monitors, Interval: o.Interval, Grace: o.Grace,
	})
	if !o.Keep {
		defer func() {
			// The measurement may have been interrupted; what it made goes all the same.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			if err := d.admin.Remove(ctx, made); err != nil {
				o.Say("the monitors tagged bench were not all removed: %v", err)
			}
		}()
	}
	if err != nil {
		return err
	}
	for i, m := range made {
		d.all = append(d.all, &watched{Monitor: m, silent: i < o.Silent})
	}
	o.Say("%d monitors of interval %v and grace %v; %d will go silent", o.Monitors, o.Interval, o.Grace, o.Silent)

	var talk, quiet sync.WaitGroup
	defer talk.Wait()
	talking, hush := context.WithCancel(ctx)
	defer hush()
	silence := time.Now().Add(o.Settle)
	for _, w := range d.all {
		group := &talk
		if w.silent {
			group = &quiet
		}
		group.Go(func() { d.keepPinging(talking, w, silence) })
	}
	quiet.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	o.Say("%d monitors are silent now", o.Silent)
	err = d.collect(ctx, alert.TypeOpened, o.Interval+o.Grace+o.Wait)
	if err == nil {
		err = d.recover(ctx)
	}
	hush()
	talk.Wait()
	d.judge()
	return err
}

// keepPinging pings the monitor twice an interval; one that is to go silent until a moment of its own within the
// interval that follows silence.
func (d *detection) keepPinging(ctx context.Context, w *watched, silence time.Time) {
	half := d.o.Interval / 2
	end := silence.Add(upTo(d.o.Interval))
	for wait := upTo(half); pause(ctx, wait); wait = half {
		// One that no ping could be sent for would be silent from the start, and alarm nobody.
		if now := time.Now(); w.silent && now.After(end) && (!w.answered.IsZero() || now.After(end.Add(d.o.Wait))) {
			return
		}
		d.ping(ctx, w)
	}
}

// upTo is a random time below d.
func upTo(d time.Duration) time.Duration {
	return time.Duration(rand.Int64N(int64(d))) //nolint:gosec // it spreads load, nothing more
}

// ping sends a success and notes when.
func (d *detection) ping(ctx context.Context, w *watched) {
	sent := time.Now()
	_, err := d.pinger.Send(ctx, client.NewPing(w.PingKey, record.Success))
	now := time.Now()
	if !w.answered.IsZero() {
		w.slow = max(w.slow, now.Sub(w.sent))
	}
	if err != nil {
		w.trouble = err
		return
	}
	w.sent, w.answered = sent, now
}

// late reports whether we pinged the monitor so late that an alarm is our own fault.
func (d *detection) late(w *watched) bool { return w.slow > d.o.Interval+d.o.Grace }

// recover pings the silent ones again and waits to be told that all is well.
func (d *detection) recover(ctx context.Context) error {
	for _, w := range d.all {
		if w.silent && w.opened != nil {
			w.answered = time.Time{}
			d.ping(ctx, w)
		}
	}
	d.o.Say("they have been pinged again")
	return d.collect(ctx, alert.TypeResolved, d.o.Wait)
}

// collect takes webhooks until every silent monitor has had one of the type, or the time is over.
func (d *detection) collect(ctx context.Context, what string, patience time.Duration) error {
	over := time.NewTimer(patience)
	defer over.Stop()
	for d.waiting(what) {
		select {
		case got := <-d.hooks.got:
			d.take(got)
		case <-over.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (d *detection) waiting(what string) bool {
	for _, w := range d.all {
		if w.silent && !w.answered.IsZero() && !d.late(w) && (what == alert.TypeOpened && w.opened == nil || what == alert.TypeResolved && w.opened != nil && w.resolved == nil) {
			return true
		}
	}
	return false
}

// take files one webhook.
func (d *detection) take(got Received) {
	w := d.find(got.Data.Incident.MonitorID.String())
	switch {
	case got.Fault != "":
		d.fault("webhook %s: %s", got.MessageID, got.Fault)
	case w == nil:
		// Somebody else's monitor on the same server.
	case got.Again && d.o.Routed:
		// A group's message lists all that fires, each time.
	case got.Again:
		d.result.Repeated++
	case !w.silent:
		w.alarms = append(w.alarms, got)
	case d.late(w):
		// Counted by judge.
	case got.Data.Incident.Kind != incident.Missed:
		d.fault("%s: %s %s, expected missed", w.Slug, got.Type, got.Data.Incident.Kind)
	case got.Type == alert.TypeOpened && w.opened == nil:
		w.opened = &got
		d.measure(w)
	case got.Type == alert.TypeResolved && w.opened != nil && w.resolved == nil && got.Data.Incident.ID == w.opened.Data.Incident.ID:
		w.resolved = &got
		d.result.Resolved.Add(got.At.Sub(w.answered))
	default:
		d.fault("%s: %s of incident %s was not to be expected", w.Slug, got.Type, got.Data.Incident.ID)
	}
}

func (d *detection) find(monitor string) *watched {
	for _, w := range d.all {
		if w.ID == monitor {
			return w
		}
	}
	return nil
}
