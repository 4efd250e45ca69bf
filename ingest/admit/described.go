package admit

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// A description that was stored is stored again after describeAgain; mostDescribed are remembered.
const (
	describeAgain = 10 * time.Minute
	mostDescribed = 200_000
)

// Described remembers which descriptions of metrics were stored a moment ago: senders repeat them with every request. Safe for
// concurrent use. Make it with NewDescribed.
type Described struct {
	seed maphash.Seed

	mu    sync.Mutex
	since time.Time
	seen  map[uint64]struct{}
}

// NewDescribed remembers nothing yet.
func NewDescribed() *Described { return &Described{seed: maphash.MakeSeed()} }

// Fresh takes those out of m, in place, that were stored a moment ago.
func (d *Described) Fresh(org tenant.OrgID, m []series.Metadata, now time.Time) []series.Metadata {
	if len(m) == 0 {
		return m
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil || now.Sub(d.since) >= describeAgain || len(d.seen) >= mostDescribed {
		d.seen, d.since = map[uint64]struct{}{}, now
	}
	fresh := m[:0]
	for i := range m {
		if _, ok := d.seen[d.hash(org, &m[i])]; !ok {
			fresh = append(fresh, m[i])
		}
	}
	return fresh
}

// Stored notes that m is stored.
func (d *Described) Stored(org tenant.OrgID, m []series.Metadata) {
	if len(m) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range m {
		d.seen[d.hash(org, &m[i])] = struct{}{}
	}
}

func (d *Described) hash(org tenant.OrgID, m *series.Metadata) uint64 {
	var h maphash.Hash
	h.SetSeed(d.seed)
	_, _ = h.Write(org.UUID[:])
	for _, s := range [...]string{m.Name, m.Type, m.Help, m.Unit} {
		_, _ = h.WriteString(s)
		_ = h.WriteByte(0xff)
	}
	return h.Sum64()
}
