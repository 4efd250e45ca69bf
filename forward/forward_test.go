package forward_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	core "github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/forward"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

func to(r *receiver) core.Config {
	return core.Config{Kind: core.RemoteWrite, URL: r.URL + "/api/v1/write"}
}

func TestEverySampleIsSentOnce(t *testing.T) {
	s, r := newBundle(t), newReceiver(t)
	s.source.series[s.a] = 1500 // more than a request takes
	s.put(s.a, "home", to(r), core.Secret{Username: "me", Password: "secret"})
	s.start()
	s.advance(1)
	s.awaitPosition(s.a, "home", s.begin.Add(step))
	last := s.advance(30) // behind: it reads several instants at a time
	st := s.awaitPosition(s.a, "home", last)
	if again := r.check(s.a, 1500, s.begin, last); len(again) > 0 {
		t.Errorf("sent again: %v", again)
	}
	if st.Sent != 31*1500 || st.Rejected != 0 || st.Skipped != 0 || st.Error != "" || st.SentAt.IsZero() {
		t.Errorf("status %+v", st)
	}
	if r.most > 2000 {
		t.Errorf("%d samples in a request", r.most)
	}
	h := r.headers[0]
	if user, password, ok := (&http.Request{Header: h}).BasicAuth(); !ok || user != "me" || password != "secret" {
		t.Errorf("it says to be %q", user)
	}
	if h.Get("X-Prometheus-Remote-Write-Version") != "0.1.0" || h.Get("Content-Encoding") != "snappy" || h.Get("User-Agent") != "Tokiflow/test" {
		t.Errorf("headers %v", h)
	}
}

func TestAnOutageLeavesNoGap(t *testing.T) {
	for name, outage := range map[string]func(n int) (int, bool){
		"too many requests":    func(n int) (int, bool) { return http.StatusTooManyRequests, false },
		"its own fault":        func(n int) (int, bool) { return http.StatusServiceUnavailable, false },
		"taken, but not said":  func(n int) (int, bool) { return http.StatusGatewayTimeout, true },
		"taken every other on": func(n int) (int, bool) { return map[bool]int{true: http.StatusBadGateway}[n%2 == 0], n%2 == 1 },
	} {
		t.Run(name, func(t *testing.T) {
			s, r := newBundle(t), newReceiver(t)
			s.put(s.a, "home", to(r), core.Secret{})
			s.start()
			s.advance(2)
			s.awaitPosition(s.a, "home", s.begin.Add(2*step))
			r.answers(outage)
			last := s.advance(10)
			if !strings.Contains(name, "other") {
				st := s.awaitStatus(s.a, "home", "an error", func(st core.Status) bool { return st.Error != "" && st.FailedTries > 0 })
				if !strings.Contains(st.Error, "it answers") || st.Rejected != 0 {
					t.Errorf("status %+v", st)
				}
			}
			r.answers(nil)
			st := s.awaitPosition(s.a, "home", last)
			r.check(s.a, 50, s.begin, last)
			if st.Error != "" || st.FailedTries != 0 {
				t.Errorf("in the end: %+v", st)
			}
		})
	}
}

func TestAReceiverThatIsAwayIsWaitedFor(t *testing.T) {
	s, r := newBundle(t), newReceiver(t)
	c := to(r)
	addr := r.Listener.Addr().String()
	r.Close()
	s.put(s.a, "home", c, core.Secret{})
	last := s.advance(3)
	s.start()
	st := s.awaitStatus(s.a, "home", "an error", func(st core.Status) bool { return st.FailedTries > 1 })
	if !strings.Contains(st.Error, "cannot be reached") || !strings.Contains(st.Error, "refused") || strings.Contains(st.Error, "api/v1/write") {
		t.Errorf("error %q", st.Error)
	}
	back := newReceiverAt(t, addr)
	s.awaitPosition(s.a, "home", last)
	back.check(s.a, 50, s.begin, last)
}

func TestKilledInTheMiddle(t *testing.T) {
	s, r := newBundle(t), newReceiver(t)
	s.put(s.a, "home", to(r), core.Secret{})
	s.source.series[s.a] = 5000
	last := s.advance(12)
	// Of the tenth request the samples are kept, and then the process is gone: it has neither the answer nor time to let go.
	var killed atomic.Bool
	dead := make(chan struct{})
	r.answers(func(n int) (int, bool) {
		if n == 10 {
			killed.Store(true)
			close(dead)
		}
		return 0, true
	})
	stop := s.start(func(o *forward.Options) { o.Store = &mortal{Store: o.Store, killed: &killed} })
	<-dead
	stop()
	before := s.status(s.a, "home").Position
	if !before.Before(last) {
		t.Fatal("it was not killed in the middle")
	}
	s.start() // another process, that has it when the lease is over
	s.awaitPosition(s.a, "home", last)
	for _, at := range r.check(s.a, 5000, s.begin, last) {
		if at <= before.UnixMilli() {
			t.Errorf("%v was sent again, which was confirmed before the kill (%v)", time.UnixMilli(at).UTC(), before)
		}
	}
}

// mortal is a store that a killed process does not reach any more.
type mortal struct {
	forward.Store
	killed *atomic.Bool
}

func (m *mortal) ReleaseForward(context.Context, tenantID, *core.Claim) error { return nil }

func (m *mortal) AdvanceForward(ctx context.Context, org tenantID, c *core.Claim, step core.Step) error {
	if m.killed.Load() {
		return context.Canceled
	}
	return m.Store.AdvanceForward(ctx, org, c, step)
}

func TestWhatTheReceiverDoesNotWantIsPassedOver(t *testing.T) {
	s, r := newBundle(t), newReceiver(t)
	s.put(s.a, "home", to(r), core.Secret{Bearer: "tell-nobody-this"})
	r.answers(func(n int) (int, bool) {
		return map[int]int{1: 400, 2: 401, 3: 404, 4: 302, 5: 413, 6: 422}[n], false
	})
	s.start(func(o *forward.Options) { o.Registerer = s.reg })
	for i := range 6 {
		st := s.awaitPosition(s.a, "home", s.advance(1))
		if st.Rejected != int64(50*(i+1)) || st.Sent != 0 || !strings.Contains(st.Error, "it answers") {
			t.Errorf("after %d: %+v", i+1, st)
		}
		if strings.Contains(st.Error, "tell-nobody") {
			t.Errorf("the error tells the secret: %q", st.Error)
		}
	}
	if st := s.awaitPosition(s.a, "home", s.advance(1)); st.Sent != 50 || st.Error != "" {
		t.Errorf("in the end: %+v", st)
	}
	if strings.Contains(s.log.String(), "tell-nobody") {
		t.Errorf("the log tells the secret")
	}
	if !strings.Contains(s.log.String(), "samples are refused") {
		t.Error("what was refused was not logged")
	}
	if err := testutil.GatherAndCompare(s.reg, strings.NewReader(`
# HELP tokiflow_forward_samples_rejected_total Samples that a receiver does not want (4xx): they are not sent again. See the error in the forward's status.
# TYPE tokiflow_forward_samples_rejected_total counter
tokiflow_forward_samples_rejected_total{kind="datadog"} 0
tokiflow_forward_samples_rejected_total{kind="remote_write"} 300
`), "tokiflow_forward_samples_rejected_total"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(s.reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}

func TestWhatIsTooOldIsLeftOutAndCounted(t *testing.T) {
	s, r := newBundle(t), newReceiver(t)
	s.put(s.a, "home", to(r), core.Secret{})
	s.exec(`update forwards set position = $1`, s.begin.Add(-30*time.Hour))
	s.advance(0)
	s.source.series[s.a] = 1
	s.start()
	st := s.awaitPosition(s.a, "home", s.begin)
	if st.Skipped < 5*time.Hour || st.Skipped > 7*time.Hour {
		t.Errorf("%v were left out", st.Skipped)
	}
	r.check(s.a, 1, s.begin.Add(-30*time.Hour).Add(st.Skipped), s.begin)
	if !strings.Contains(s.log.String(), "time is left out") {
		t.Error("it was not logged")
	}
}

func TestAChangeTakesEffect(t *testing.T) {
	s, old, young := newBundle(t), newReceiver(t), newReceiver(t)
	s.put(s.a, "home", to(old), core.Secret{})
	s.start(func(o *forward.Options) { o.Registerer = s.reg })
	first := s.advance(2)
	s.awaitPosition(s.a, "home", first)
	s.put(s.a, "home", to(young), core.Secret{Headers: map[string]string{"X-Scope-OrgID": "7"}})
	eventually(t, func() string { return "taken up anew" }, func() bool { // the step that is under way may still go to the old one
		var held bool
		return s.pool.QueryRow(s.ctx, `select holder is not null from forwards`).Scan(&held) == nil && held
	})
	last := s.advance(2)
	s.awaitPosition(s.a, "home", last)
	old.check(s.a, 50, s.begin, first)
	young.check(s.a, 50, first, last)
	if got := young.headers[0].Get("X-Scope-OrgID"); got != "7" {
		t.Errorf("header %q", got)
	}
	if err := s.store.DeleteForward(s.ctx, s.a, "home"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string { return "let go of what was deleted" }, func() bool { return s.gauge("tokiflow_forwards_held") == 0 })
	n := young.count()
	s.advance(2)
	time.Sleep(100 * time.Millisecond) // nothing happens: there is nothing to wait for
	if young.count() != n {
		t.Error("a deleted forward goes on")
	}
}

func TestProcessesShareTheWork(t *testing.T) {
	s, r := newBundle(t), newReceiver(t)
	s.put(s.a, "home", to(r), core.Secret{})
	first, second := s.start(), s.start()
	at := s.advance(3)
	s.awaitPosition(s.a, "home", at)
	first()
	at = s.advance(3)
	s.awaitPosition(s.a, "home", at)
	s.start()
	second()
	at = s.advance(3)
	s.awaitPosition(s.a, "home", at)
	if again := r.check(s.a, 50, s.begin, at); len(again) > 0 {
		t.Errorf("sent by two: %v", again)
	}
}

func TestOrganisationsAreKeptApart(t *testing.T) {
	s, one, two := newBundle(t), newReceiver(t), newReceiver(t)
	s.put(s.a, "home", to(one), core.Secret{Bearer: "key-of-a"})
	s.put(s.b, "home", to(two), core.Secret{Bearer: "key-of-b"})
	s.start()
	last := s.advance(3)
	s.awaitPosition(s.a, "home", last)
	s.awaitPosition(s.b, "home", last)
	one.check(s.a, 50, s.begin, last)
	two.check(s.b, 30, s.begin, last)
	if one.headers[0].Get("Authorization") != "Bearer key-of-a" || two.headers[0].Get("Authorization") != "Bearer key-of-b" {
		t.Error("their keys were mixed up")
	}
	// A secret moved to another's row does not open there.
	s.exec(`update forwards f set sealed = o.sealed, epoch = f.epoch + 1, holder = null, leased_until = now()
		from forwards o where f.org_id = $1 and o.org_id = $2`, s.b, s.a)
	s.advance(1)
	s.awaitStatus(s.b, "home", "an error", func(st core.Status) bool { return strings.Contains(st.Error, "our side") })
	if strings.Contains(s.log.String(), "key-of-a") {
		t.Error("the log tells a secret")
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	s, r := newBundle(t), newReceiver(t)
	s.put(s.a, "home", to(r), core.Secret{})
	s.advance(1)
	client := safehttp.New(safehttp.Options{})
	s.start(func(o *forward.Options) { o.Client = client })
	st := s.awaitStatus(s.a, "home", "an error", func(st core.Status) bool { return st.Error != "" })
	if !strings.Contains(st.Error, "cannot be reached") || r.count() > 0 {
		t.Errorf("%d requests, error %q", r.count(), st.Error)
	}
	t.Log(st.Error)
}

func TestOurOwnTroubleIsNotTold(t *testing.T) {
	s, r := newBundle(t), newReceiver(t)
	s.put(s.a, "home", to(r), core.Secret{})
	s.source.fail.Store(true)
	s.start()
	last := s.advance(1)
	st := s.awaitStatus(s.a, "home", "an error", func(st core.Status) bool { return st.Error != "" })
	if strings.Contains(st.Error, "hunter2") || !strings.Contains(s.log.String(), "hunter2") {
		t.Errorf("told %q", st.Error)
	}
	s.source.fail.Store(false)
	s.awaitPosition(s.a, "home", last)
	r.check(s.a, 50, s.begin, last)
}
