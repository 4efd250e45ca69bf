package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
)

// say writes an outbox row as a checkpoint does, and returns its id.
func (s *bundle) say(o owner, incident uuid.UUID, kind string) int64 {
	s.t.Helper()
	var id int64
	err := s.pool.QueryRow(s.ctx, `with said as (
			insert into outbox (org_id, incident_id, type, payload) values ($1, $2, $3, jsonb_build_object('type', $3::text)) returning id
		) select id from said, pg_notify('tokiflow_outbox', '')`, o.org, incident, kind).Scan(&id)
	s.must(err)
	return id
}

func (s *bundle) fanOut(receivers ...string) int {
	s.t.Helper()
	n, err := s.store.FanOut(s.ctx, receivers, 100)
	s.must(err)
	return n
}

func (s *bundle) claim(receiver string, retries bool) []alert.Delivery {
	s.t.Helper()
	ds, err := s.store.ClaimDeliveries(s.ctx, receiver, retries, 100, time.Minute)
	s.must(err)
	return ds
}

// record says what came of an attempt: 0 for a status is no answer.
func (s *bundle) record(d alert.Delivery, status int, failure string, in time.Duration) int {
	s.t.Helper()
	n, err := s.store.RecordAttempt(s.ctx, alert.Attempt{
		Delivery: d, At: time.Now(), Latency: 20 * time.Millisecond, StatusCode: status, Error: failure, RetryIn: in,
	})
	s.must(err)
	return n
}

func outboxIDs(ds []alert.Delivery) []int64 {
	ids := []int64{}
	for _, d := range ds {
		ids = append(ids, d.Outbox)
	}
	return ids
}

func (s *bundle) wantClaim(receiver string, retries bool, want ...int64) []alert.Delivery {
	s.t.Helper()
	got := s.claim(receiver, retries)
	if diff := cmp.Diff(append([]int64{}, want...), outboxIDs(got)); diff != "" {
		s.t.Errorf("claimed for %s, retries %t (-want +got):\n%s", receiver, retries, diff)
	}
	return got
}

func TestAnAlertIsFannedOutToEveryReceiverOnce(t *testing.T) {
	s := newBundle(t)
	incident := uuid.New()
	id := s.say(s.a, incident, alert.TypeOpened)
	if n := s.fanOut("x", "y"); n != 1 {
		t.Errorf("%d rows fanned out", n)
	}
	if n := s.fanOut("x", "y", "new"); n != 0 {
		t.Errorf("%d rows fanned out again", n)
	}
	for _, receiver := range []string{"x", "y"} {
		ds := s.wantClaim(receiver, false, id)
		want := alert.Delivery{
			Outbox: id, Org: s.a.org, Incident: incident, Receiver: receiver, Type: alert.TypeOpened,
			Payload: []byte(`{"type": "incident.opened"}`), Attempt: 1,
		}
		got := ds[0]
		if age := time.Since(got.CreatedAt); age < 0 || age > time.Minute {
			t.Errorf("written %v ago", age)
		}
		want.ID, want.CreatedAt = got.ID, got.CreatedAt
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	s.wantClaim("new", false)
}

func TestWithoutReceiversNothingWaits(t *testing.T) {
	s := newBundle(t)
	s.say(s.a, uuid.New(), alert.TypeOpened)
	if n := s.fanOut(); n != 1 {
		t.Errorf("%d rows taken", n)
	}
	if n := s.fanOut("late"); n != 0 {
		t.Errorf("%d rows left for a receiver that came later", n)
	}
}

// A process that fans out one message of an incident is slow; another one must not show a later message before it.
func TestFanningOutKeepsTheOrder(t *testing.T) {
	s := newBundle(t)
	incident := uuid.New()
	first := s.say(s.a, incident, alert.TypeOpened)
	slow, err := s.pool.Begin(s.ctx)
	s.must(err)
	_, err = slow.Exec(s.ctx, `select from outbox where id = $1 for update`, first)
	s.must(err)
	second := s.say(s.a, incident, alert.TypeResolved)
	ended := make(chan error, 1)
	go func() {
		_, err := s.store.FanOut(s.ctx, []string{"x"}, 10)
		ended <- err
	}()
	for s.count(`select count(*) from pg_locks where not granted`) == 0 && len(ended) == 0 {
		time.Sleep(time.Millisecond)
	}
	s.wantClaim("x", false)
	s.must(slow.Rollback(s.ctx))
	s.must(<-ended)
	d := s.wantClaim("x", false, first)[0]
	s.record(d, 200, "", 0)
	s.wantClaim("x", false, second)
}

func TestALeaseKeepsOthersAway(t *testing.T) {
	s := newBundle(t)
	id := s.say(s.a, uuid.New(), alert.TypeOpened)
	s.fanOut("x")
	ds, err := s.store.ClaimDeliveries(s.ctx, "x", false, 10, time.Hour)
	s.must(err)
	s.wantClaim("x", false)
	s.wantClaim("x", true)
	s.exec(`update deliveries set next_attempt_at = now()`) // the lease ends
	s.wantClaim("x", false)
	again := s.wantClaim("x", true, id)[0]
	if again.Attempt != 2 {
		t.Errorf("attempt %d", again.Attempt)
	}
	// The first holder comes back late. Its failure is noted but moves nothing; its success counts.
	s.record(ds[0], 500, "answered 500", 0)
	s.wantClaim("x", true)
	s.record(ds[0], 200, "", 0)
	if n := s.count(`select count(*) from deliveries where delivered_at is not null`); n != 1 {
		t.Error("a message that was taken is not marked so")
	}
	s.record(again, 500, "answered 500", 0)
	s.wantClaim("x", true)
	if n := s.count(`select count(*) from notifications`); n != 3 {
		t.Errorf("%d attempts written down, want 3", n)
	}
}

func TestWithinAnIncidentOneWaitsForTheOther(t *testing.T) {
	s := newBundle(t)
	incident := uuid.New()
	opened, resolved := s.say(s.a, incident, alert.TypeOpened), s.say(s.a, incident, alert.TypeResolved)
	other := s.say(s.a, uuid.New(), alert.TypeOpened)
	s.fanOut("x", "y")
	first := s.wantClaim("x", false, opened, other)[0]
	s.wantClaim("x", false)
	if n := s.record(first, 500, "answered 500", time.Hour); n != 0 {
		t.Errorf("a failure released %d", n)
	}
	s.wantClaim("x", false)

	// At another receiver the incident goes on.
	at := s.wantClaim("y", false, opened, other)[0]
	if n := s.record(at, 200, "", 0); n != 1 {
		t.Errorf("%d deliveries released, want 1", n)
	}
	s.wantClaim("y", false, resolved)

	s.exec(`update deliveries set next_attempt_at = now() where outbox_id = $1 and receiver = 'x'`, opened)
	second := s.wantClaim("x", true, opened)[0]
	if n := s.record(second, 204, "", 0); n != 1 {
		t.Errorf("%d deliveries released, want 1", n)
	}
	s.wantClaim("x", false, resolved)
}

func TestDeliveriesThatWaitAreNotLookedAtAgainAndAgain(t *testing.T) {
	s := newBundle(t)
	const incidents = 300 // more than one look goes through
	for range incidents {
		incident := uuid.New()
		s.say(s.a, incident, alert.TypeOpened)
		s.say(s.a, incident, alert.TypeResolved)
	}
	last := s.say(s.a, uuid.New(), alert.TypeOpened)
	for s.fanOut("x") > 0 {
	}
	s.exec(`update deliveries d set attempts = 1, next_attempt_at = now() + interval '1 hour'
		from outbox o where o.id = d.outbox_id and o.type = 'incident.opened' and o.id <> $1`, last)
	s.wantClaim("x", false, last)
	if n := s.count(`select count(*) from deliveries where next_attempt_at <= now()`); n != 0 {
		t.Errorf("%d deliveries are still due though they wait for others", n)
	}
	if n := s.count(`select count(*) from deliveries where attempts = 0`); n != incidents {
		t.Errorf("%d deliveries untried, want %d: putting off is no attempt", n, incidents)
	}
}

func TestAttemptsAreWrittenDown(t *testing.T) {
	s := newBundle(t)
	incident := uuid.New()
	s.say(s.a, incident, alert.TypeOpened)
	s.fanOut("x")
	d := s.claim("x", false)[0]

	stranger := d
	stranger.Org = s.b.org
	s.record(stranger, 200, "", 0)
	if n := s.count(`select count(*) from notifications`); n != 0 {
		t.Error("another organisation's delivery was written to")
	}
	if n := s.count(`select count(*) from deliveries where delivered_at is not null`); n != 0 {
		t.Error("another organisation's delivery was marked taken")
	}

	s.record(d, 0, "no answer in time", 0)
	d = s.wantClaim("x", true, d.Outbox)[0]
	s.record(d, 200, "", 0)
	type row struct {
		Attempt int
		Status  *int
		Error   string
		Latency float64
	}
	rows, err := s.pool.Query(s.ctx, `select attempt, status_code, error, latency_seconds from notifications
		where org_id = $1 and incident_id = $2 and receiver = 'x' order by id`, s.a.org, incident)
	s.must(err)
	var got []row
	for rows.Next() {
		var r row
		s.must(rows.Scan(&r.Attempt, &r.Status, &r.Error, &r.Latency))
		got = append(got, r)
	}
	s.must(rows.Err())
	ok := 200
	want := []row{{1, nil, "no answer in time", 0.02}, {2, &ok, "", 0.02}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s.exec(`delete from outbox`)
	s.record(d, 200, "", 0) // gone meanwhile: no error
}

func TestBacklogs(t *testing.T) {
	s := newBundle(t)
	for range 3 {
		s.say(s.a, uuid.New(), alert.TypeOpened)
	}
	s.exec(`update outbox set created_at = '2026-01-01 00:00+00' where id = (select min(id) from outbox)`)
	s.fanOut("gone", "x")
	ds := s.claim("x", false)
	s.record(ds[0], 200, "", 0)
	s.record(ds[1], 500, "answered 500", 0)
	s.claim("x", true)
	got, err := s.store.Backlogs(s.ctx)
	s.must(err)
	want := []alert.Backlog{
		{Receiver: "gone", Waiting: 3, Oldest: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Receiver: "x", Waiting: 2, Retrying: 2, Attempts: 2, Oldest: ds[1].CreatedAt},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPruneLeavesWhatWaits(t *testing.T) {
	s := newBundle(t)
	taken, waiting, unread, young := s.say(s.a, uuid.New(), "t"), s.say(s.a, uuid.New(), "t"), int64(0), int64(0)
	s.fanOut("x")
	s.record(s.claim("x", false)[0], 200, "", 0)
	unread = s.say(s.a, uuid.New(), "t")
	s.exec(`update outbox set fed = true`)
	s.exec(`update outbox set created_at = now() - interval '100 days'`)
	young = s.say(s.a, uuid.New(), "t")
	s.exec(`update outbox set fanned_out = true where id = $1`, young)
	if n, err := s.store.PruneOutbox(s.ctx, 90*24*time.Hour, 10); n != 1 || err != nil {
		t.Errorf("%d rows removed, %v", n, err)
	}
	if n := s.count(`select count(*) from outbox where id = $1`, taken); n != 0 {
		t.Error("what was taken is still there")
	}
	if n := s.count(`select count(*) from outbox where id = any ($1)`, []int64{waiting, unread, young}); n != 3 {
		t.Errorf("%d of 3 left", n)
	}
	if n := s.count(`select count(*) from notifications`); n != 0 {
		t.Error("its attempts are still there")
	}
	unfed := s.say(s.a, uuid.New(), "t")
	s.exec(`update outbox set fanned_out = true, created_at = now() - interval '100 days' where id = $1`, unfed)
	if n, err := s.store.PruneOutbox(s.ctx, 90*24*time.Hour, 10); n != 0 || err != nil {
		t.Errorf("%d rows removed that alerting has not taken, %v", n, err)
	}
	s.exec(`delete from outbox where id <> $1`, waiting)
	s.exec(`update deliveries set delivered_at = now()`)
	if n, err := s.store.PruneOutbox(s.ctx, 90*24*time.Hour, 10); n != 1 || err != nil {
		t.Errorf("without young rows: %d rows removed, %v", n, err)
	}
}

func TestListenOutbox(t *testing.T) {
	s := newBundle(t)
	ctx, stop := context.WithCancel(s.ctx)
	woken, ended := make(chan struct{}, 10), make(chan error, 1)
	go func() { ended <- s.store.ListenOutbox(ctx, func() { woken <- struct{}{} }) }()
	<-woken // at the start
	s.say(s.a, uuid.New(), alert.TypeOpened)
	<-woken
	s.exec(`select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen tokiflow_outbox' and datname = current_database()`)
	if err := <-ended; err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("connection lost: %v", err)
	}
	go func() { ended <- s.store.ListenOutbox(ctx, func() { woken <- struct{}{} }) }()
	<-woken
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

// Several processes at once write, fan out, claim, fail and take. Nothing overtakes, is lost or is held twice.
func TestManyRelaysKeepTheOrder(t *testing.T) {
	s := newBundle(t)
	const incidents, messages, workers = 40, 4, 6
	receivers := []string{"x", "y"}
	var mu sync.Mutex
	taken := map[string][]int64{} // by receiver and incident
	held := map[int64]bool{}
	total := 0

	done, stop := context.WithCancel(s.ctx)
	defer stop()
	var writers, relays sync.WaitGroup
	for i := range incidents {
		writers.Go(func() {
			incident := uuid.New()
			for n := range messages {
				s.say(s.a, incident, fmt.Sprintf("incident.%d", n))
				if i%3 == 0 {
					time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
				}
			}
		})
	}
	finish := func(d alert.Delivery) {
		mu.Lock()
		if held[d.ID] {
			t.Errorf("delivery %d is held twice", d.ID)
		}
		held[d.ID] = true
		mu.Unlock()
		failed := rand.IntN(3) == 0
		mu.Lock()
		delete(held, d.ID)
		if !failed {
			key := d.Receiver + " " + d.Incident.String()
			taken[key] = append(taken[key], d.Outbox)
			if total++; total == incidents*messages*len(receivers) {
				stop()
			}
		}
		mu.Unlock()
		if failed {
			s.record(d, 500, "answered 500", time.Millisecond)
		} else {
			s.record(d, 200, "", 0)
		}
	}
	for w := range workers {
		relays.Go(func() {
			for done.Err() == nil {
				_, err := s.store.FanOut(s.ctx, receivers, 1+w)
				s.must(err)
				ds, err := s.store.ClaimDeliveries(s.ctx, receivers[rand.IntN(2)], rand.IntN(2) == 0, 1+w, 30*time.Second)
				s.must(err)
				for _, d := range ds {
					finish(d)
				}
			}
		})
	}
	writers.Wait()
	relays.Wait()
	if len(taken) != incidents*len(receivers) {
		t.Errorf("%d incidents and receivers, want %d", len(taken), incidents*len(receivers))
	}
	for key, ids := range taken {
		for i := range ids {
			if len(ids) != messages || i > 0 && ids[i] <= ids[i-1] {
				t.Errorf("%s: taken in the order %v", key, ids)
				break
			}
		}
	}
}
