package alerting_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/alerting"
	"github.com/tokiflow/tokiflow/core/alert"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the test process' own PostgreSQL runs to its end
		goleak.IgnoreAnyFunction("github.com/tokiflow/tokiflow/infra/pg/pgtest.(*Cluster).Start.func1"),
		goleak.IgnoreAnyFunction("github.com/tokiflow/tokiflow/infra/pg/pgtest.(*Cluster).startWatchdog.func1"))
}

// story is a relay on a memory, in a bubble with its own clock.
type story struct {
	t       *testing.T
	store   *memory
	log     *lines
	metrics *prometheus.Registry
	wake    chan struct{}
	stop    func()
}

func tell(t *testing.T, options alerting.Options, receivers []*fake, f func(s *story)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &story{t: t, store: newMemory(), log: &lines{}, metrics: prometheus.NewRegistry(), wake: make(chan struct{}, 1)}
		options.Store, options.Registerer = s.store, s.metrics
		options.Logger = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if options.Listen == nil {
			options.Listen = s.listen
		}
		for _, r := range receivers {
			options.Receivers = append(options.Receivers, r)
		}
		s.stop = start(t, options)
		defer s.stop()
		synctest.Wait()
		f(s)
	})
}

func (s *story) listen(ctx context.Context, wake func()) error {
	wake()
	for {
		select {
		case <-s.wake:
			wake()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// say writes to the outbox and wakes the relay, as a commit does, and waits until all that can happen at once has.
func (s *story) say(incident uuid.UUID, kind string) {
	s.store.say(incident, kind)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	synctest.Wait()
}

func (s *story) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (s *story) metric(name string, labels ...string) float64 {
	s.t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if strings.Join(values, " ") == strings.Join(labels, " ") {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	s.t.Errorf("no metric %s %v", name, labels)
	return -1
}

func TestAnAlertIsSentAtOnceToEveryReceiver(t *testing.T) {
	a, b := &fake{name: "a"}, &fake{name: "b"}
	tell(t, alerting.Options{}, []*fake{a, b}, func(s *story) {
		s.pass(300 * time.Millisecond)
		s.say(uuid.New(), alert.TypeOpened) // no time passes
		if len(a.heard()) != 1 || len(b.heard()) != 1 {
			t.Errorf("a heard %d, b %d", len(a.heard()), len(b.heard()))
		}
		if n := s.metric("tokiflow_notification_attempts_total", "taken", "a"); n != 1 {
			t.Errorf("%v attempts counted", n)
		}
		if n := s.metric("tokiflow_notification_delay_seconds", "a"); n != 1 {
			t.Errorf("%v delays counted", n)
		}
		s.pass(time.Hour)
		if len(a.heard()) != 1 {
			t.Errorf("a heard it %d times", len(a.heard()))
		}
	})
}

func TestWithoutBeingWokenThePollFindsIt(t *testing.T) {
	a := &fake{name: "a"}
	deaf := func(context.Context, func()) error { return errors.New("not allowed to listen") }
	tell(t, alerting.Options{Listen: deaf}, []*fake{a}, func(s *story) {
		s.store.say(uuid.New(), alert.TypeOpened)
		s.pass(1100 * time.Millisecond)
		if len(a.heard()) != 1 {
			t.Errorf("heard %d", len(a.heard()))
		}
		s.pass(time.Hour)
		if n := s.log.count("listening for new alerts failed"); n != 1 {
			t.Errorf("%d lines in the log, want 1", n)
		}
	})
}

func TestItIsTriedUntilItIsTaken(t *testing.T) {
	const failures = 20
	a := &fake{name: "a"}
	a.answer = func(_ context.Context, d alert.Delivery) (alert.Answer, error) {
		if d.Attempt <= failures {
			return alert.Answer{StatusCode: 500}, errors.New("answered 500")
		}
		return alert.Answer{StatusCode: 200}, nil
	}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		s.say(uuid.New(), alert.TypeOpened)
		s.pass(2 * time.Hour)
		heard := a.heard()
		if len(heard) != failures+1 {
			t.Fatalf("%d attempts, want %d", len(heard), failures+1)
		}
		longest := time.Duration(0)
		for i := 1; i < len(heard); i++ {
			ceiling := min(time.Second<<(i-1), 5*time.Minute)
			gap := heard[i].at.Sub(heard[i-1].at)
			if gap > ceiling+time.Second { // the poll may come a second late
				t.Errorf("%v before attempt %d, at the most %v", gap, i+1, ceiling)
			}
			longest = max(longest, gap)
			if heard[i].Attempt != i+1 || heard[i].MessageID() != heard[0].MessageID() {
				t.Errorf("attempt %d: %+v", i+1, heard[i])
			}
		}
		if longest < 20*time.Second {
			t.Errorf("at the longest %v between attempts: there is no backoff", longest)
		}
		if n := len(s.store.made()); n != failures+1 {
			t.Errorf("%d attempts written down", n)
		}
		if n := s.log.count("did not take an alert"); n != 1 {
			t.Errorf("%d lines that it began to fail, want 1:\n%s", n, s.log.text())
		}
		if n := s.log.count("takes alerts again"); n != 1 {
			t.Errorf("%d lines that it is well again, want 1", n)
		}
	})
}

func TestRetryAfterIsHeeded(t *testing.T) {
	a := &fake{name: "a"}
	a.answer = func(_ context.Context, d alert.Delivery) (alert.Answer, error) {
		if d.Attempt == 1 {
			return alert.Answer{StatusCode: 429, RetryAfter: 40 * time.Second}, errors.New("answered 429")
		}
		return alert.Answer{StatusCode: 200}, nil
	}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		s.say(uuid.New(), alert.TypeOpened)
		s.pass(39 * time.Second)
		if n := len(a.heard()); n != 1 {
			t.Errorf("%d attempts too early", n)
		}
		s.pass(7 * time.Second)
		if n := len(a.heard()); n != 2 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestResolvedComesAfterOpened(t *testing.T) {
	a := &fake{name: "a"}
	a.answer = func(_ context.Context, d alert.Delivery) (alert.Answer, error) {
		if d.Type == alert.TypeOpened && d.Attempt < 6 {
			return alert.Answer{}, errors.New("no answer")
		}
		return alert.Answer{StatusCode: 200}, nil
	}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		incident, other := uuid.New(), uuid.New()
		s.say(incident, alert.TypeOpened)
		s.say(incident, alert.TypeResolved)
		s.say(other, "other") // of another incident: it does not wait
		if n := len(a.heard()); n != 2 || a.heard()[1].Incident != other {
			t.Errorf("heard %+v", a.heard())
		}
		s.pass(time.Hour)
		heard := a.heard()
		last, before := heard[len(heard)-1], heard[len(heard)-2]
		if len(heard) != 8 || last.Type != alert.TypeResolved || before.Type != alert.TypeOpened {
			t.Errorf("heard %d, at last %s after %s", len(heard), last.Type, before.Type)
		}
		if gap := last.at.Sub(before.at); gap > 0 {
			t.Errorf("the resolved one came %v after the opened one was taken", gap)
		}
	})
}

func TestAHangingReceiverBlocksNoOther(t *testing.T) {
	bad, good := &fake{name: "bad", answer: hang}, &fake{name: "good"}
	tell(t, alerting.Options{}, []*fake{bad, good}, func(s *story) {
		for range 100 {
			s.say(uuid.New(), alert.TypeOpened)
		}
		if n := len(good.heard()); n != 100 {
			t.Errorf("the good one heard %d", n)
		}
		if n := len(bad.heard()); n != 16 {
			t.Errorf("%d attempts at a time at the bad one, want 16", n)
		}
		s.pass(10 * time.Minute)
		if n := s.log.count(`msg="alerts are not taken by the receiver; they are tried until they are" receiver=bad`); n < 8 || n > 11 {
			t.Errorf("%d reminders in ten minutes:\n%.3000s", n, s.log.text())
		}
		if n := s.metric("tokiflow_deliveries_waiting", "true", "bad"); n != 100 {
			t.Errorf("%v waiting", n)
		}
		if n := s.metric("tokiflow_deliveries_oldest_seconds", "true", "bad"); n < 500 {
			t.Errorf("the oldest is %v s old", n)
		}
		if n := s.metric("tokiflow_deliveries_waiting", "true", "good"); n != 0 {
			t.Errorf("%v waiting at the good one", n)
		}
		if n := s.metric("tokiflow_receiver_failures_in_a_row", "bad"); n < 100 {
			t.Errorf("%v failures in a row", n)
		}
	})
}

func TestDeliveriesThatHangLeaveRoomForNewOnes(t *testing.T) {
	a := &fake{name: "a"}
	a.answer = func(ctx context.Context, d alert.Delivery) (alert.Answer, error) {
		if d.Type == "poison" {
			return hang(ctx, d)
		}
		return alert.Answer{StatusCode: 200}, nil
	}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		for range 1000 {
			s.say(uuid.New(), "poison")
		}
		s.pass(time.Hour) // each was tried, and all retries are busy from now on
		before := len(a.heard())
		s.say(uuid.New(), alert.TypeOpened)
		heard := a.heard()
		if len(heard) != before+1 || heard[before].Type != alert.TypeOpened {
			t.Errorf("%d heard at once", len(heard)-before)
		}
	})
}

func TestADatabaseThatIsDownIsWaitedFor(t *testing.T) {
	a := &fake{name: "a"}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		s.store.mu.Lock()
		for _, method := range []string{"FanOut", "ClaimDeliveries", "Backlogs", "PruneOutbox", "RecordAttempt"} {
			s.store.fails[method] = 5
		}
		s.store.mu.Unlock()
		s.say(uuid.New(), alert.TypeOpened)
		s.pass(time.Minute)
		if n := len(a.heard()); n != 1 {
			t.Errorf("sent %d times: the record of it was tried again", n)
		}
		if made := s.store.made(); len(made) != 1 || !made[0].Taken() {
			t.Errorf("written down: %+v", made)
		}
		for _, line := range []string{`level=ERROR msg="alerts cannot be read from the outbox"`, `level=ERROR msg="alerts cannot be claimed`} {
			if n := s.log.count(line); n == 0 || n > 2 {
				t.Errorf("%d lines %q, want one for each streak", n, line)
			}
		}
	})
}

func TestAnAttemptThatCannotBeWrittenDownIsMadeAgain(t *testing.T) {
	a := &fake{name: "a"}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		s.store.mu.Lock()
		s.store.fails["RecordAttempt"] = 1_000_000
		s.store.mu.Unlock()
		s.say(uuid.New(), alert.TypeOpened)
		s.pass(24 * time.Second)
		if n := len(a.heard()); n != 1 {
			t.Errorf("sent %d times within the lease", n)
		}
		s.store.mu.Lock()
		s.store.fails["RecordAttempt"] = 0
		s.store.mu.Unlock()
		s.pass(3 * time.Second)
		if n := len(s.store.made()); n == 0 {
			t.Error("not written down when the database was back")
		}
	})
}

func TestTheEndCutsAttemptsShort(t *testing.T) {
	a := &fake{name: "a", answer: hang}
	tell(t, alerting.Options{AttemptTimeout: time.Minute}, []*fake{a}, func(s *story) {
		s.say(uuid.New(), alert.TypeOpened)
		began := time.Now()
		s.stop()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it took %v to stop, want 5 s", took)
		}
		made := s.store.made()
		if len(made) != 1 || made[0].RetryIn != 0 || made[0].Error != "cut short: Tokiflow was stopped" {
			t.Errorf("written down: %+v", made)
		}
		if n := s.log.count("did not take an alert"); n != 0 {
			t.Error("the receiver was blamed")
		}
	})
}

func TestTheEndLetsAttemptsFinish(t *testing.T) {
	a := &fake{name: "a"}
	a.answer = func(ctx context.Context, _ alert.Delivery) (alert.Answer, error) {
		select {
		case <-ctx.Done():
			return alert.Answer{}, ctx.Err()
		case <-time.After(3 * time.Second):
			return alert.Answer{StatusCode: 200}, nil
		}
	}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		s.say(uuid.New(), alert.TypeOpened)
		s.stop()
		if made := s.store.made(); len(made) != 1 || !made[0].Taken() {
			t.Errorf("written down: %+v", made)
		}
	})
}

// Between the claim and the request a process may stand still for longer than its lease: then another one has the delivery.
func TestAProcessThatWasFrozenDoesNotSendLate(t *testing.T) {
	a := &fake{name: "a"}
	var sent []int
	a.answer = func(ctx context.Context, d alert.Delivery) (alert.Answer, error) {
		if err := ctx.Err(); err != nil {
			return alert.Answer{}, err
		}
		sent = append(sent, d.Attempt)
		return alert.Answer{StatusCode: 200}, nil
	}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		s.store.freeze(time.Hour)
		s.say(uuid.New(), alert.TypeOpened)
		s.pass(2 * time.Hour)
		if !slices.Equal(sent, []int{2}) {
			t.Errorf("sent by the attempts %v, want the second only, which took over when the lease was over", sent)
		}
	})
}

func TestWhatWaitsForAReceiverThatIsGone(t *testing.T) {
	a := &fake{name: "a"}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		_, err := s.store.FanOut(context.Background(), nil, 10)
		if err != nil {
			t.Fatal(err)
		}
		s.store.say(uuid.New(), alert.TypeOpened)
		if _, err := s.store.FanOut(context.Background(), []string{"gone"}, 10); err != nil {
			t.Fatal(err)
		}
		s.pass(time.Hour)
		if n := s.log.count("not configured any more"); n < 2 || n > 3 {
			t.Errorf("%d lines in an hour", n)
		}
		if n := s.metric("tokiflow_deliveries_waiting", "false", "gone"); n != 1 {
			t.Errorf("%v waiting", n)
		}
		if len(a.heard()) != 0 {
			t.Error("another receiver got it")
		}
	})
}

func TestRetention(t *testing.T) {
	tell(t, alerting.Options{}, nil, func(s *story) {
		s.pass(3*time.Hour + time.Minute)
		if n := len(s.store.pruned); n != 4 || s.store.pruned[0] != 90*24*time.Hour {
			t.Errorf("pruned %v", s.store.pruned)
		}
	})
	tell(t, alerting.Options{Retention: -1}, nil, func(s *story) {
		s.pass(3 * time.Hour)
		if n := len(s.store.pruned); n != 0 {
			t.Errorf("pruned %v", s.store.pruned)
		}
	})
}

func TestAnIdleRelayIsCheap(t *testing.T) {
	a := &fake{name: "a"}
	tell(t, alerting.Options{}, []*fake{a}, func(s *story) {
		s.pass(time.Minute)
		for method, most := range map[string]int{"FanOut": 63, "ClaimDeliveries": 125, "Backlogs": 6} {
			if n := s.store.calls[method]; n > most {
				t.Errorf("%d calls of %s in an idle minute, want at the most %d", n, method, most)
			}
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	log, store := slog.New(slog.DiscardHandler), newMemory()
	twice := []alerting.Receiver{&fake{name: "a"}, &fake{name: "a"}}
	registry := prometheus.NewRegistry()
	good := alerting.Options{Store: store, Logger: log, Registerer: registry}
	if _, err := alerting.NewRelay(good); err != nil {
		t.Errorf("good options: %v", err)
	}
	for name, o := range map[string]alerting.Options{
		"no store":                     {Logger: log},
		"no logger":                    {Store: store},
		"a receiver twice":             {Store: store, Logger: log, Receivers: twice},
		"a negative time":              {Store: store, Logger: log, PollInterval: -1},
		"metrics that are there twice": good,
	} {
		if _, err := alerting.NewRelay(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
