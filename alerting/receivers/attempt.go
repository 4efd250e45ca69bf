package receivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"gopkg.in/telebot.v3"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/core/alert"
)

// attempts wraps a notifier. Alertmanager's RetryStage calls Notify once per attempt, again and again until it is told not to or the
// flush has no time left; what it is told, and how long it takes, is decided here. One flush's hanging receiver delays neither another
// group nor another organisation: every group flushes in its own goroutine, each receiver's integrations side by side, and the time
// of a flush is limited by Alertmanager to the group's interval, 10 s at least.
type attempts struct {
	place   place
	next    notify.Notifier
	log     *Log
	logger  *slog.Logger
	secrets *scrubber
	timeout time.Duration
	turns   *Turns         // of the organisations
	share   chan struct{}  // has room for as many attempts as may be under way here
	slow    atomic.Bool    // the last attempt took long
	status  *regexp.Regexp // finds the status in the text of Alertmanager's errors

	mu        sync.Mutex
	notBefore time.Time // it asked to be left alone until then
	running   map[uuid.UUID]*flight
}

// flight is a notification that is being tried.
type flight struct {
	n      alert.Notification
	trying bool // an attempt is under way: what comes of it will be said by end
}

// asked is an error that says how long to stay away; coded one that has a status.
type (
	asked interface {
		error
		RetryAfter() time.Duration
	}
	coded interface {
		error
		StatusCode() int
	}
)

// Notify makes one attempt. Its error is free of secrets.
func (a *attempts) Notify(ctx context.Context, alerts ...*amalert.Alert) (retry bool, err error) {
	_, retry, err = a.attempt(ctx, alerts, false)
	return retry, err
}

// attempt makes one, and returns its notification with what came of it. last: there will be no other.
func (a *attempts) attempt(ctx context.Context, alerts []*amalert.Alert, last bool) (n alert.Notification, retry bool, err error) {
	n = a.begin(ctx, alerts)
	leave, err := a.ready(ctx)
	if err != nil {
		return a.end(n, alert.Failed, 0, 0, err.Error()), false, err
	}
	n.Attempts++
	start := time.Now()
	retry, err = a.once(outgoing.WithMessageID(ctx, n.ID), alerts)
	took := time.Since(start)
	if took >= slowAfter || ctx.Err() == nil { // else it was cut short: that says nothing
		a.slow.Store(took >= slowAfter)
	}
	leave()
	if err == nil {
		return a.end(n, alert.Delivered, took, 0, ""), false, nil
	}
	if after := asAsked(err); after > 0 {
		a.mu.Lock()
		a.notBefore = time.Now().Add(after)
		a.mu.Unlock()
	}
	code, text := a.code(err), a.describe(ctx, err)
	if _, unanswered := errors.AsType[*url.Error](err); unanswered && code == 0 {
		retry = true // jira would wait for the next flush
	}
	retry = retry && !a.hopeless(code)
	status := alert.Retrying
	if last || !retry || ctx.Err() != nil {
		status = alert.Failed
	}
	return a.end(n, status, took, code, text), retry, told{text: text, err: err}
}

// hopeless reports whether Alertmanager's notifier would repeat what was refused for good: these two try everything again, a wrong
// token too.
func (a *attempts) hopeless(code int) bool {
	return (a.place.kind == "telegram" || a.place.kind == "wechat") && code > 0 && code < 500 && code/100 != 2 && code != 429
}

// once calls the notifier with a limit on its time, and survives its panics.
func (a *attempts) once(ctx context.Context, alerts []*amalert.Alert) (retry bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			a.logger.ErrorContext(ctx, "alerting: a notifier panicked", "panic", a.secrets.clean(fmt.Sprint(p)), "stack", string(debug.Stack()))
			retry, err = false, errors.New("the receiver's answer could not be understood")
		}
	}()
	return a.next.Notify(ctx, alerts...)
}

// ready waits for a turn, and while the receiver wants to be left alone. leave is to be called after the attempt, once.
func (a *attempts) ready(ctx context.Context) (leave func(), err error) {
	for {
		if err := a.wait(ctx); err != nil {
			return nil, err
		}
		if leave, err = a.turn(ctx); err != nil {
			return nil, err
		}
		a.mu.Lock()
		alone := time.Now().Before(a.notBefore) // it asked for that while this one waited
		a.mu.Unlock()
		if !alone {
			return leave, nil
		}
		leave()
	}
}

// wait blocks while the receiver wants to be left alone. The error is that there will be no time left after that.
func (a *attempts) wait(ctx context.Context) error {
	a.mu.Lock()
	until := a.notBefore
	a.mu.Unlock()
	left := time.Until(until)
	if left <= 0 {
		return nil
	}
	if end, ok := ctx.Deadline(); ok && end.Before(until) {
		return fmt.Errorf("the receiver asked to be left alone for another %s", left.Round(time.Second))
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin returns the notification that the attempt is one of, as it was before.
func (a *attempts) begin(ctx context.Context, alerts []*amalert.Alert) alert.Notification {
	id := a.id(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.running[id]
	if f == nil {
		f = &flight{n: a.describeFlush(ctx, id, alerts)}
		a.running[id] = f
		// A flush that ends while its notification is still being tried has given it up.
		context.AfterFunc(ctx, func() { a.giveUp(id) })
	}
	f.trying = true
	return f.n
}

// end notes what came of the attempt.
func (a *attempts) end(n alert.Notification, status alert.NotificationStatus, took time.Duration, code int, text string) alert.Notification {
	n.Status, n.StatusCode, n.Error, n.Latency = status, code, text, took
	if status != alert.Retrying {
		n.EndedAt = time.Now()
	}
	a.log.metrics.attempted(a.place, status, took)
	a.mu.Lock()
	defer a.mu.Unlock()
	if status == alert.Retrying {
		a.running[n.ID] = &flight{n: n}
	} else {
		delete(a.running, n.ID)
	}
	a.log.add(n)
	return n
}

func (a *attempts) giveUp(id uuid.UUID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.running[id]
	if f == nil || f.trying {
		return
	}
	delete(a.running, id)
	n := f.n
	n.Status, n.EndedAt = alert.Failed, time.Now()
	a.log.metrics.notifications.WithLabelValues(a.place.kind, string(alert.Failed)).Inc()
	a.log.add(n)
}

// id is the same in every attempt of a flush. A flush that tells first what fires and then what is resolved has two.
func (a *attempts) id(ctx context.Context) uuid.UUID {
	group, ok := notify.AggrGroupID(ctx)
	if !ok {
		return uuid.New()
	}
	flush, _ := notify.FlushID(ctx)
	firing, _ := notify.FiringAlerts(ctx)
	resolved, _ := notify.ResolvedAlerts(ctx)
	name := fmt.Sprintf("%s\x00%s\x00%d\x00%s\x00%s\x00%v\x00%v", a.place.org, group, flush, a.place.receiver, a.place.integration, firing, resolved)
	return uuid.NewSHA1(uuid.MustParse("5c8e1c52-6a0e-5b0a-9a41-6d4f0e5a4c7e"), []byte(name))
}

func (a *attempts) describeFlush(ctx context.Context, id uuid.UUID, alerts []*amalert.Alert) alert.Notification {
	n := alert.Notification{
		ID: id, Org: a.place.org, Receiver: a.place.receiver, Integration: a.place.integration,
		AlertCount: len(alerts), StartedAt: time.Now(), Alerts: make([]alert.Told, 0, min(len(alerts), alert.MaxTold)),
	}
	n.GroupKey, _ = notify.GroupKey(ctx)
	if reason, ok := notify.NotificationReason(ctx); ok {
		n.Reason = reason.String()
	}
	for _, one := range alerts {
		if !one.Resolved() {
			n.FiringCount++
		}
		if len(n.Alerts) < alert.MaxTold {
			n.Alerts = append(n.Alerts, toldOf(one))
		}
	}
	return n
}

func toldOf(a *amalert.Alert) alert.Told {
	t := alert.Told{
		Fingerprint: a.Fingerprint().String(), Status: string(a.Status()), Labels: make(map[string]string, len(a.Labels)), StartsAt: a.StartsAt,
	}
	for name, value := range a.Labels {
		t.Labels[string(name)] = string(value)
	}
	if a.Resolved() {
		t.EndsAt = &a.EndsAt
	}
	if id, err := uuid.Parse(string(a.Annotations[alert.AnnotationIncident])); err == nil {
		t.Incident = &id
	}
	return t
}

// describe is the error as it may be shown.
func (a *attempts) describe(ctx context.Context, err error) string {
	switch {
	case ctx.Err() != nil:
		return "given up: no time was left before the group's next flush, or the process stopped"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer within " + a.timeout.String()
	}
	return a.secrets.clean(err.Error())
}

// code is the status that the error speaks of; 0: none.
func (a *attempts) code(err error) int {
	if c, ok := errors.AsType[coded](err); ok {
		return c.StatusCode()
	}
	if found := a.status.FindStringSubmatch(err.Error()); found != nil {
		code, _ := strconv.Atoi(found[1] + found[2]) // three digits, of one of the two
		return code
	}
	return 0
}

// told is an error with its text cleaned, that still has its reason for Alertmanager's metrics.
type told struct {
	text string
	err  error
}

func (t told) Error() string { return t.text }

// As finds the reason for the failure only: whoever could get at the error itself would have its text.
func (t told) As(target any) bool {
	to, ok := target.(**notify.ErrorWithReason)
	if !ok {
		return false
	}
	reason, ok := errors.AsType[*notify.ErrorWithReason](t.err)
	if ok {
		*to = notify.NewErrorWithReason(reason.Reason, errors.New(t.text))
	}
	return ok
}

// longestWish is the longest that a receiver is left alone: nobody is without alerts for longer by a slip.
const longestWish = time.Hour

// asAsked is how long the receiver asked to be left alone, longestWish at most; 0: it did not.
func asAsked(err error) time.Duration {
	if flood, ok := errors.AsType[telebot.FloodError](err); ok {
		return time.Duration(min(flood.RetryAfter, int(longestWish/time.Second))) * time.Second
	}
	if a, ok := errors.AsType[asked](err); ok {
		return min(a.RetryAfter(), longestWish)
	}
	return 0
}
