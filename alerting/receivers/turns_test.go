package receivers_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"gopkg.in/telebot.v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// crowd are integrations of one organisation, of which those whose name begins with "hangs" never answer.
type crowd struct {
	t         *testing.T
	names     []string
	build     map[string]notify.Integration
	now, most atomic.Int64 // under way at the hanging ones
	each      sync.Map     // by name
	answered  atomic.Int64
}

func newCrowd(t *testing.T, turns *receivers.Turns, names ...string) *crowd {
	t.Helper()
	c := &crowd{t: t, names: names}
	log, err := receivers.NewLog(receivers.LogOptions{Store: newRows()})
	if err != nil {
		t.Fatal(err)
	}
	o := receivers.Options{
		Org: tenant.OrgID{UUID: uuid.New()}, Dial: to("127.0.0.1:1"), Client: http.DefaultClient, Log: log, Turns: turns,
		Factories: map[string]receivers.Factory{"discord_app": func(e config.Entry, _ *template.Template) (notify.Notifier, error) {
			return &scriptedNotifier{f: func(ctx context.Context, _ int) (bool, error) { return c.answer(ctx, e.Receiver) }}, nil
		}},
	}
	r, err := receivers.New(o)
	if err != nil {
		t.Fatal(err)
	}
	loaded := (&bundle{t: t}).load("route: {receiver: " + names[0] + "}\nreceivers:\n- name: " + strings.Join(names, "\n- name: ") + "\n")
	for _, name := range names {
		loaded.Entries = append(loaded.Entries, config.Entry{Kind: "discord_app", Receiver: name})
	}
	all, err := r.Build(loaded, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.build = map[string]notify.Integration{}
	for name, list := range all {
		c.build[name] = list[0]
	}
	return c
}

func (c *crowd) answer(ctx context.Context, name string) (bool, error) {
	if !strings.HasPrefix(name, "hangs") {
		c.answered.Add(1)
		return false, nil
	}
	one, _ := c.each.LoadOrStore(name, new(atomic.Int64))
	here := one.(*atomic.Int64) //nolint:forcetypeassert // stored the line above
	if n := here.Add(1); n > 8 {
		c.t.Errorf("%d at once at %s", n, name)
	}
	if n := c.now.Add(1); n > c.most.Load() {
		c.most.Store(n)
	}
	<-ctx.Done()
	c.now.Add(-1)
	here.Add(-1)
	return true, ctx.Err()
}

// flushes starts so many flushes for each of the hanging ones, again and again until ctx ends.
func (c *crowd) flushes(ctx context.Context, wait *sync.WaitGroup, each int) {
	var number atomic.Uint64
	for _, name := range c.names {
		for range each {
			wait.Go(func() {
				for ctx.Err() == nil {
					flush, cancel := flush(c.t, number.Add(1))
					flush, end := context.WithTimeout(flush, 15*time.Second)
					stop := context.AfterFunc(ctx, end)
					i := c.build[name]
					_, _ = i.Notify(flush, firing("a")...)
					stop()
					end()
					cancel()
				}
			})
		}
	}
}

func TestAnOrganisationHasSoManyAttemptsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := receivers.NewTurns()
		var names []string
		for n := range 30 {
			names = append(names, fmt.Sprintf("hangs-%d", n))
		}
		hanging, other := newCrowd(t, turns, append(names, "works")...), newCrowd(t, turns, "works")
		hanging.names = names
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		hanging.flushes(ctx, &wait, 20)
		synctest.Wait()
		if n := hanging.now.Load(); n != 64 {
			t.Errorf("%d attempts are under way", n)
		}
		send := func(c *crowd, what string) {
			t.Helper()
			began := time.Now()
			f, end := flush(t, 1)
			defer end()
			i := c.build["works"]
			if _, err := i.Notify(f, firing("a")...); err != nil || time.Since(began) > 10*time.Second {
				t.Errorf("%s: after %s: %v", what, time.Since(began), err)
			}
		}
		send(other, "another organisation")
		if n := other.answered.Load(); n != 1 {
			t.Errorf("%d", n)
		}
		time.Sleep(time.Minute) // each of them has been tried: what hangs is known
		for range 5 {
			hanging.most.Store(0)
			send(hanging, "another receiver")
			time.Sleep(11 * time.Second)
		}
		if n := hanging.most.Load(); n != 32 {
			t.Errorf("%d attempts were under way at what hangs", n)
		}
		cancel()
		wait.Wait()
		if n := receivers.Organisations(turns); n != 0 {
			t.Errorf("%d organisations are remembered", n)
		}
	})
}

// The time that an attempt waits for its turn is not its own, and the end of the flush ends the wait.
func TestWaitingForATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, nil, "hangs")
		var wait sync.WaitGroup
		for n := range uint64(17) {
			wait.Go(func() {
				ctx, cancel := flush(t, n)
				defer cancel()
				ctx, end := context.WithTimeout(ctx, 25*time.Second)
				defer end()
				began := time.Now()
				i := c.build["hangs"]
				_, err := i.Notify(ctx, firing("a")...)
				took := time.Since(began)
				switch {
				case took == 25*time.Second: // the third round is cut short
				case (took == 10*time.Second || took == 20*time.Second) && err != nil && err.Error() == "no answer within 10s":
				default:
					t.Errorf("after %s: %v", took, err)
				}
			})
		}
		wait.Wait()
		short, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		full, end := context.WithCancel(t.Context())
		c.flushes(full, &wait, 8)
		synctest.Wait()
		i := c.build["hangs"]
		if retry, err := i.Notify(short, firing("a")...); retry || err == nil || !strings.Contains(err.Error(), "as many attempts of the organisation") {
			t.Errorf("%t, %v", retry, err)
		}
		end()
		wait.Wait()
	})
}

// Who waited for a turn while the receiver asked to be left alone leaves it alone.
func TestATurnIsNotTakenWhereNobodyIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, err := receivers.NewLog(receivers.LogOptions{Store: newRows()})
		if err != nil {
			t.Fatal(err)
		}
		var calls atomic.Int64
		o := receivers.Options{Org: tenant.OrgID{UUID: uuid.New()}, Dial: to("127.0.0.1:1"), Client: http.DefaultClient, Log: log}
		scripting(func(context.Context, int) (bool, error) {
			calls.Add(1)
			time.Sleep(time.Second)
			return true, outgoing.NewError(http.StatusTooManyRequests, 10*time.Minute, "")
		})(&o)
		r, err := receivers.New(o)
		if err != nil {
			t.Fatal(err)
		}
		list, err := r.Build(scriptedConfig(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		i := list["ops"][0]
		var wait sync.WaitGroup
		for n := range uint64(50) {
			wait.Go(func() {
				ctx, cancel := flush(t, n)
				defer cancel()
				if _, err := i.Notify(ctx, firing("a")...); err == nil {
					t.Error("it was delivered")
				}
			})
		}
		wait.Wait()
		if n := calls.Load(); n != 8 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestNobodyIsLeftAloneForLongerThanAnHour(t *testing.T) {
	for _, c := range []struct {
		err  error
		want time.Duration
	}{
		{outgoing.NewError(http.StatusTooManyRequests, 24*time.Hour, ""), time.Hour},
		{outgoing.NewError(http.StatusTooManyRequests, 59*time.Minute, ""), 59 * time.Minute},
		{telebot.FloodError{RetryAfter: math.MaxInt}, time.Hour},
		{fmt.Errorf("sending: %w", telebot.FloodError{RetryAfter: 7}), 7 * time.Second},
		{errors.New("no"), 0},
	} {
		if got := receivers.AsAsked(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
