package admit

import (
	"fmt"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Limits are what an organisation may send to one process. 0: any amount.
type Limits struct {
	SamplesPerSecond int
	SamplesBurst     int // by default what ten seconds allow
	ActiveSeries     int // series with a sample in the last hour
}

// activeFor is how long a series counts as active after its last sample, and how often those that are not are forgotten.
const (
	activeFor  = time.Hour
	sweepEvery = time.Minute
)

// SeriesRetry is when it may help to send series again that were refused because there are too many.
const SeriesRetry = time.Minute

// Limiter holds organisations to their limits, each for itself. What it knows is lost with the process. Safe for concurrent
// use.
type Limiter struct {
	limits Limits
	now    func() time.Time

	mu   sync.Mutex
	orgs map[tenant.OrgID]*account
}

// account is what an organisation has sent.
type account struct {
	mu    sync.Mutex
	full  time.Time        // when its bucket of samples will be full again
	seen  map[uint64]int64 // by series' hash: Unix seconds of its last sample
	swept time.Time
}

// NewLimiter makes a Limiter. now nil: the machine's clock.
func NewLimiter(limits Limits, now func() time.Time) *Limiter {
	if limits.SamplesBurst == 0 {
		limits.SamplesBurst = 10 * limits.SamplesPerSecond
	}
	if now == nil {
		now = time.Now
	}
	return &Limiter{limits: limits, now: now, orgs: map[tenant.OrgID]*account{}}
}

func (l *Limiter) account(org tenant.OrgID) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.orgs[org]
	if a == nil {
		a = &account{seen: map[uint64]int64{}}
		l.orgs[org] = a
	}
	return a
}

// Take takes n samples from the organisation's bucket. wait is 0 if it may send them, else the time until it may. What does not
// fit into the bucket at all passes when the bucket is full, and is paid off afterwards.
func (l *Limiter) Take(org tenant.OrgID, n int) (wait time.Duration) {
	if l.limits.SamplesPerSecond <= 0 || n == 0 {
		return 0
	}
	interval := time.Second / time.Duration(l.limits.SamplesPerSecond)
	burst := interval * time.Duration(l.limits.SamplesBurst)
	now := l.now()
	a := l.account(org)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full.Before(now) {
		a.full = now
	}
	price := interval * time.Duration(n)
	if over := a.full.Sub(now) + min(price, burst) - burst; over > 0 {
		return over
	}
	a.full = a.full.Add(price)
	return 0
}

// Active says which series are too many: those whose organisation has its number of active series, and that are not among them.
// It calls refuse with the index of each and forgets it again; the others count as seen now.
func (l *Limiter) Active(org tenant.OrgID, s []series.Series, refuse func(i int)) {
	if l.limits.ActiveSeries <= 0 {
		return
	}
	now := l.now()
	a := l.account(org)
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.swept) >= sweepEvery {
		a.swept = now
		for h, last := range a.seen {
			if last < now.Add(-activeFor).Unix() {
				delete(a.seen, h)
			}
		}
	}
	for i := range s {
		h := series.Hash(org, s[i].Labels)
		if _, known := a.seen[h]; !known && len(a.seen) >= l.limits.ActiveSeries {
			refuse(i)
			continue
		}
		a.seen[h] = now.Unix()
	}
}

// ActiveSeries is the number of series of all organisations that are counted.
func (l *Limiter) ActiveSeries() int {
	l.mu.Lock()
	accounts := make([]*account, 0, len(l.orgs))
	for _, a := range l.orgs {
		accounts = append(accounts, a)
	}
	l.mu.Unlock()
	n := 0
	for _, a := range accounts {
		a.mu.Lock()
		n += len(a.seen)
		a.mu.Unlock()
	}
	return n
}

// Over is the error of a series that is one too many.
func (l *Limiter) Over(s []series.Label) *Error {
	return &Error{Reason: OverSeries, Text: fmt.Sprintf("series %s: the organisation has its %d active series; one without a sample for an hour makes room: look for a label with ever new values", Name(s), l.limits.ActiveSeries)}
}
