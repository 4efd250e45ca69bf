package ingest

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// trustFor is how long the copy is believed to be whole after its source was lost: as long as a change may take anyway.
const trustFor = time.Second

// remembered is how many deleted monitors are remembered, so that one that was made by a ping and deleted at once does
// not come back.
const remembered = 256

// target is a monitor with where its pings go. Immutable but for its rate limit.
type target struct {
	tenant.PingTarget
	partition int
	limit     *bucket // the monitor's: kept over changes of the key and the slug
}

// project is what a project key stands for.
type project struct {
	tenant.ProjectKey
	creates *bucket // limits how many monitors its slug URLs ask for
}

// pingKey is a ping key as a table's key. Its last bytes are random in every version of UUID that is given out.
type pingKey uuid.UUID

func (k pingKey) shard() uint32 { return binary.BigEndian.Uint32(k[12:]) }

// slugKey is a slug and whose it is: a project's for URLs, an organisation's for batches.
type slugKey struct {
	owner uuid.UUID
	slug  string
	hash  uint32
}

func (k slugKey) shard() uint32 { return k.hash }

// index is everything that is known at one time. The tables and the project map are read without a lock.
type index struct {
	byKey    table[pingKey, *target]
	bySlug   table[slugKey, []*target] // several: the slug is ambiguous
	projects map[string]*project       // by key; immutable
	monitors map[uuid.UUID]*target     // guarded by cache.mu
}

// cache is what ingest knows of monitors. Reads take no lock; changes are made one at a time.
type cache struct {
	partitions int
	seed       maphash.Seed
	current    atomic.Pointer[index]
	loaded     atomic.Bool
	lostAt     atomic.Int64 // on the Ingest's clock, plus 1; 0: the source is connected

	mu      sync.Mutex
	deleted []uuid.UUID // the last ones, a ring; guarded by mu
	next    int         // place in deleted; guarded by mu
}

func newCache(partitions int) *cache {
	c := &cache{partitions: partitions, seed: maphash.MakeSeed()}
	c.current.Store(&index{monitors: map[uuid.UUID]*target{}})
	return c
}

func (c *cache) slugKey(owner uuid.UUID, slug string) slugKey {
	h := maphash.String(c.seed, slug) ^ binary.BigEndian.Uint64(owner[8:])
	return slugKey{owner: owner, slug: slug, hash: uint32(h ^ h>>32)}
}

// byKey finds a monitor by its ping key; nil: there is none.
func (c *cache) byKey(key uuid.UUID) *target {
	t, _ := c.current.Load().byKey.get(pingKey(key))
	return t
}

// bySlug finds the monitors of a project or an organisation that go by the slug.
func (c *cache) bySlug(owner uuid.UUID, slug string) []*target {
	ts, _ := c.current.Load().bySlug.get(c.slugKey(owner, slug))
	return ts
}

// project finds a project by its key; nil: there is none.
func (c *cache) project(key string) *project { return c.current.Load().projects[key] }

// whole reports that what is not known does not exist. Else nothing can be said of it now.
func (c *cache) whole(now time.Duration) bool {
	if !c.loaded.Load() {
		return false
	}
	lost := c.lostAt.Load()
	return lost == 0 || int64(now) < lost-1+int64(trustFor)
}

// lose says that the source is lost since now.
func (c *cache) lose(now time.Duration) { c.lostAt.CompareAndSwap(0, int64(now)+1) }

// connected reports that changes come in.
func (c *cache) connected() bool { return c.loaded.Load() && c.lostAt.Load() == 0 }

// size is the number of monitors.
func (c *cache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.current.Load().monitors)
}

// apply takes over what the source says.
func (c *cache) apply(change tenant.PingTargets) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if change.Full {
		c.replace(change)
		c.loaded.Store(true)
		c.lostAt.Store(0)
		return
	}
	if len(change.Targets) == 0 {
		c.forget(change.Monitor)
	}
	c.update(change.Monitor, change.Targets)
}

// add takes over a monitor that was made just now, ahead of the source's word; what the source has said goes first.
func (c *cache) add(t tenant.PingTarget) *target {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.current.Load().monitors[t.Monitor]; known != nil {
		return known
	}
	if slices.Contains(c.deleted, t.Monitor) {
		return c.target(c.current.Load(), t)
	}
	c.update(t.Monitor, []tenant.PingTarget{t})
	return c.current.Load().monitors[t.Monitor]
}

// forget remembers that a monitor was deleted. c.mu is held.
func (c *cache) forget(monitor uuid.UUID) {
	if len(c.deleted) < remembered {
		c.deleted = append(c.deleted, monitor)
		return
	}
	c.deleted[c.next] = monitor
	c.next = (c.next + 1) % remembered
}

// target makes a target, with the rate limit that the monitor has already. c.mu is held.
func (c *cache) target(known *index, t tenant.PingTarget) *target {
	made := &target{PingTarget: t, partition: record.Partition(t.Monitor, c.partitions)}
	if old := known.monitors[t.Monitor]; old != nil {
		made.limit = old.limit
	} else {
		made.limit = new(bucket)
	}
	return made
}

// replace builds a new index beside the one that is being read. c.mu is held.
func (c *cache) replace(change tenant.PingTargets) {
	old := c.current.Load()
	next := &index{
		projects: make(map[string]*project, len(change.Projects)),
		monitors: make(map[uuid.UUID]*target, len(change.Targets)),
	}
	for _, p := range change.Projects {
		made := &project{ProjectKey: p, creates: new(bucket)}
		if was := old.projects[p.Key]; was != nil {
			made.creates = was.creates
		}
		next.projects[p.Key] = made
	}
	for _, t := range change.Targets {
		made := c.target(old, t)
		next.monitors[t.Monitor] = made
		next.byKey.fill(pingKey(t.Key), made)
		for _, k := range c.slugKeys(made) {
			sharing, _ := next.bySlug.get(k)
			next.bySlug.fill(k, append(sharing, made))
		}
	}
	c.current.Store(next)
}

// update replaces one monitor. New entries are in place before old ones go, so nobody finds a monitor missing that only
// changed. c.mu is held.
func (c *cache) update(monitor uuid.UUID, targets []tenant.PingTarget) {
	x := c.current.Load()
	old := x.monitors[monitor]
	var made *target
	if len(targets) > 0 {
		made = c.target(x, targets[0])
		x.monitors[monitor] = made
		x.byKey.set(pingKey(made.Key), made)
		for _, k := range c.slugKeys(made) {
			x.bySlug.set(k, without(x, k, monitor, made))
		}
	} else {
		delete(x.monitors, monitor)
	}
	if old == nil {
		return
	}
	if now, _ := x.byKey.get(pingKey(old.Key)); now == old {
		x.byKey.remove(pingKey(old.Key))
	}
	for _, k := range c.slugKeys(old) {
		if made != nil && slices.Contains(c.slugKeys(made), k) {
			continue
		}
		if rest := without(x, k, monitor, nil); len(rest) > 0 {
			x.bySlug.set(k, rest)
		} else {
			x.bySlug.remove(k)
		}
	}
}

// without returns a copy of the monitors that share k, with monitor left out and made (if any) added.
func without(x *index, k slugKey, monitor uuid.UUID, made *target) []*target {
	sharing, _ := x.bySlug.get(k)
	rest := make([]*target, 0, len(sharing)+1)
	for _, t := range sharing {
		if t.Monitor != monitor {
			rest = append(rest, t)
		}
	}
	if made != nil {
		rest = append(rest, made)
	}
	return rest
}

// slugKeys are the keys under which a monitor is found by slug.
func (c *cache) slugKeys(t *target) []slugKey {
	if t.Slug == "" {
		return nil
	}
	return []slugKey{c.slugKey(t.Project.UUID, t.Slug), c.slugKey(t.Org.UUID, t.Slug)}
}
