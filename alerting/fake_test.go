package alerting_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting"
	"github.com/tokiflow/tokiflow/core/alert"
)

// memory is a Store in memory, with the clock of the test's bubble. fail makes the next calls fail.
type memory struct {
	mu         sync.Mutex
	outbox     []message
	deliveries []*waiting
	attempts   []alert.Attempt
	pruned     []time.Duration
	fails      map[string]int // by method, how many calls still fail
	calls      map[string]int
	standstill time.Duration // how long the next claim that finds something takes to come back
}

type message struct {
	incident uuid.UUID
	kind     string
	at       time.Time
	out      bool
}

type waiting struct {
	alert.Delivery
	due   time.Time
	taken bool
}

var errDown = errors.New("the database is down")

func newMemory() *memory { return &memory{fails: map[string]int{}, calls: map[string]int{}} }

// called counts a call and returns the error it is to fail with. The lock is held.
func (m *memory) called(method string) error {
	m.calls[method]++
	if m.fails[method] > 0 {
		m.fails[method]--
		return errDown
	}
	return nil
}

func (m *memory) freeze(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.standstill = d
}

func (m *memory) say(incident uuid.UUID, kind string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outbox = append(m.outbox, message{incident: incident, kind: kind, at: time.Now()})
}

func (m *memory) FanOut(_ context.Context, receivers []string, limit int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("FanOut"); err != nil {
		return 0, err
	}
	n := 0
	for i := range m.outbox {
		o := &m.outbox[i]
		if o.out || n == limit {
			continue
		}
		o.out = true
		n++
		for _, r := range receivers {
			m.deliveries = append(m.deliveries, &waiting{due: time.Now(), Delivery: alert.Delivery{
				ID: int64(len(m.deliveries) + 1), Outbox: int64(i + 1), Incident: o.incident, Receiver: r, Type: o.kind, CreatedAt: o.at,
			}})
		}
	}
	return n, nil
}

func (m *memory) ClaimDeliveries(_ context.Context, receiver string, retries bool, limit int, lease time.Duration) ([]alert.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("ClaimDeliveries"); err != nil {
		return nil, err
	}
	var out []alert.Delivery
	for _, d := range m.deliveries {
		if d.taken || d.Receiver != receiver || d.Attempt > 0 != retries || d.due.After(time.Now()) || len(out) == limit || m.blocked(d) {
			continue
		}
		d.Attempt++
		d.due = time.Now().Add(lease)
		out = append(out, d.Delivery)
	}
	if len(out) > 0 {
		d := m.standstill
		m.standstill = 0
		m.mu.Unlock()
		time.Sleep(d)
		m.mu.Lock()
	}
	return out, nil
}

func (m *memory) blocked(d *waiting) bool {
	return slices.ContainsFunc(m.deliveries, func(e *waiting) bool {
		return e.Incident == d.Incident && e.Receiver == d.Receiver && e.Outbox < d.Outbox && !e.taken
	})
}

func (m *memory) RecordAttempt(_ context.Context, a alert.Attempt) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("RecordAttempt"); err != nil {
		return 0, err
	}
	m.attempts = append(m.attempts, a)
	d := m.deliveries[a.ID-1]
	if a.Taken() {
		d.taken = true
		return 1, nil
	}
	if d.Attempt == a.Attempt {
		d.due = time.Now().Add(a.RetryIn)
	}
	return 0, nil
}

func (m *memory) Backlogs(context.Context) ([]alert.Backlog, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("Backlogs"); err != nil {
		return nil, err
	}
	var out []alert.Backlog
	for _, d := range m.deliveries {
		if d.taken {
			continue
		}
		i := slices.IndexFunc(out, func(b alert.Backlog) bool { return b.Receiver == d.Receiver })
		if i < 0 {
			i = len(out)
			out = append(out, alert.Backlog{Receiver: d.Receiver, Oldest: d.CreatedAt})
		}
		out[i].Waiting++
		if d.Attempt > 0 {
			out[i].Retrying++
		}
		out[i].Attempts = max(out[i].Attempts, d.Attempt)
	}
	return out, nil
}

func (m *memory) PruneOutbox(_ context.Context, age time.Duration, _ int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.called("PruneOutbox"); err != nil {
		return 0, err
	}
	m.pruned = append(m.pruned, age)
	return 0, nil
}

func (m *memory) made() []alert.Attempt {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.attempts)
}

// fake is a receiver: answer decides; nil takes everything at once.
type fake struct {
	name   string
	answer func(ctx context.Context, d alert.Delivery) (alert.Answer, error)

	mu    sync.Mutex
	calls []call
}

type call struct {
	alert.Delivery
	at time.Time
}

func (f *fake) Name() string { return f.name }

func (f *fake) Notify(ctx context.Context, d alert.Delivery) (alert.Answer, error) {
	f.mu.Lock()
	f.calls = append(f.calls, call{d, time.Now()})
	f.mu.Unlock()
	if f.answer == nil {
		return alert.Answer{StatusCode: 200}, nil
	}
	return f.answer(ctx, d)
}

func (f *fake) heard() []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func hang(ctx context.Context, _ alert.Delivery) (alert.Answer, error) {
	<-ctx.Done()
	return alert.Answer{}, errors.New("no answer in time")
}

// lines is a log that remembers.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.all.String(), part)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// start runs a relay until the test or stop ends it.
func start(t testing.TB, o alerting.Options) (stop func()) {
	t.Helper()
	r, err := alerting.NewRelay(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
