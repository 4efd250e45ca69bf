package alerting_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// process starts a relay in a process of its own, to be killed.
func (w *way) process(url string) *exec.Cmd {
	w.t.Helper()
	cmd := exec.CommandContext(w.ctx, os.Args[0], "-test.run=^TestRelayProcess$", "-test.timeout=2m", "--", w.url, url) //nolint:gosec // this test itself
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// A process is killed between the request and the note of it. The next one sends the same message again.
func TestKilledBetweenPostAndMark(t *testing.T) {
	w := newWay(t, pgtest.NewURL(t))
	var child *exec.Cmd
	arrived := make(chan struct{})
	h := newHook(t, func(_ got, nth int) int {
		if nth == 1 {
			<-arrived // the child exists
			_ = child.Process.Kill()
			_ = child.Wait()
		}
		return 200
	})
	child = w.process(h.url)
	close(arrived)
	incident := uuid.New()
	w.say(incident, alert.TypeOpened)
	w.say(incident, alert.TypeResolved)
	h.await(w.ctx, t, 1)
	if n := w.count(`select count(*) from deliveries where delivered_at is null and attempts = 1 and next_attempt_at > now()`); n != 1 {
		t.Errorf("%d deliveries are leased by the dead process, want 1", n)
	}
	w.exec(`update deliveries set next_attempt_at = now() where attempts = 1`) // its lease is over
	stop := w.relay(h.url)
	defer stop()
	h.await(w.ctx, t, 3)
	w.settled()
	all := h.all()
	if all[0].id != all[1].id || all[1].kind != alert.TypeOpened || all[2].kind != alert.TypeResolved || len(all) != 3 {
		t.Errorf("got %+v", all)
	}
}

// Relays are killed at random moments under load. No alert is lost, and the first of each message come in order.
func TestKilledAgainAndAgain(t *testing.T) {
	w := newWay(t, pgtest.NewURL(t))
	h := newHook(t, func(_ got, nth int) int {
		if nth == 1 && rand.IntN(3) == 0 {
			return 500
		}
		return 200
	})
	const kills, each = 8, 25
	for range kills {
		victim := w.process(h.url)
		for range each {
			incident := uuid.New()
			w.say(incident, alert.TypeOpened)
			w.say(incident, alert.TypeResolved)
		}
		for before := len(h.all()); len(h.all()) < before+each/2; { // it is at work
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		_ = victim.Process.Kill()
		_ = victim.Wait()
	}
	stop := w.relay(h.url)
	defer stop()
	w.expire()
	h.wantFirstOrder(t, kills*each)
	t.Logf("%d requests for %d messages", len(h.all()), 2*kills*each)
}

// TestRelayProcess is the process that TestKilledBetweenPostAndMark kills.
func TestRelayProcess(t *testing.T) {
	if flag.NArg() != 2 {
		t.SkipNow() // not a test of its own
	}
	r, err := alerting.NewRelay(options(t, openPool(t, flag.Arg(0)), flag.Arg(1)))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Run(context.Background())
}
