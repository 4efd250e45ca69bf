package mail

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
)

const (
	claims   = 64              // recipients claimed at once
	atOnce   = 64              // organisations worked on at once
	lease    = 5 * time.Minute // longer than working on a claim takes
	batch    = 4 * time.Minute // of what was claimed for one organisation; what is not begun by then is claimed anew
	timeout  = time.Minute     // of one recipient
	expiry   = time.Minute     // from one look for what expired to the next
	finishIn = 20 * time.Second
)

// Run sends verification mails, and what is held when it is due, until the context ends. Any number of processes may run it: each
// recipient is worked on by one at a time. An organisation whose mail server hangs delays no other. What was sent is marked after it was
// sent, so that a process that dies between the two has it sent once more, rather than never.
func (m *Mailer) Run(ctx context.Context) error {
	w := newWork(m)
	defer w.all.Wait()
	var expired time.Time
	for {
		n, err := w.claim(ctx)
		if err != nil && ctx.Err() == nil {
			m.log.WarnContext(ctx, "mail: what is due cannot be read", "error", err)
		}
		if now := m.now(); now.Sub(expired) >= expiry && ctx.Err() == nil {
			expired = now
			m.expire(ctx)
		}
		if n > 0 && err == nil {
			continue // there may be more
		}
		timer := time.NewTimer(m.o.Poll)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-m.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Serve does once what Run does again and again: all that is due now.
func (m *Mailer) Serve(ctx context.Context) error {
	w := newWork(m)
	for {
		n, err := w.claim(ctx)
		w.all.Wait()
		if err != nil {
			return err
		}
		if n == 0 {
			m.expire(ctx)
			return nil
		}
	}
}

// work is what is under way: of each organisation one recipient after the other.
type work struct {
	m    *Mailer
	all  sync.WaitGroup
	free chan struct{} // a place for each organisation at work

	mu   sync.Mutex
	busy map[tenant.OrgID]bool
}

func newWork(m *Mailer) *work {
	return &work{m: m, free: make(chan struct{}, atOnce), busy: map[tenant.OrgID]bool{}}
}

// claim begins to work on what is due, and returns on how many recipients.
func (w *work) claim(ctx context.Context) (int, error) {
	w.mu.Lock()
	busy := slices.Collect(maps.Keys(w.busy))
	w.mu.Unlock()
	list, err := w.m.o.Store.ClaimRecipients(ctx, claims, w.m.now(), lease, busy...)
	if err != nil {
		return 0, err
	}
	byOrg := map[tenant.OrgID][]recipient.Recipient{}
	for _, r := range list {
		byOrg[r.Org] = append(byOrg[r.Org], r)
	}
	for org, of := range byOrg {
		w.mu.Lock()
		w.busy[org] = true
		w.mu.Unlock()
		w.free <- struct{}{}
		w.all.Go(func() {
			w.organisation(ctx, of)
			w.mu.Lock()
			delete(w.busy, org)
			w.mu.Unlock()
			<-w.free
			w.m.nudge() // more of it may be due
		})
	}
	return len(list), nil
}

// organisation does what is due for recipients of one organisation.
func (w *work) organisation(ctx context.Context, list []recipient.Recipient) {
	m := w.m
	ctx, cancel := context.WithTimeout(ctx, batch)
	defer cancel()
	for _, r := range list {
		if ctx.Err() != nil {
			return // the leases of the others end
		}
		one, cancel := context.WithTimeout(ctx, timeout)
		done := m.serve(one, r)
		cancel()
		finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishIn)
		if err := m.o.Store.FinishRecipient(finish, r.Org, r.Address, done); err != nil {
			m.log.WarnContext(ctx, "mail: what was sent cannot be marked", "org", r.Org.String(), "error", err)
		}
		cancel()
	}
}
