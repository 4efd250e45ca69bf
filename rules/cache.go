package rules

import (
	"sync"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// cache keeps groups that are ready: their templates are read once for each revision.
type cache struct {
	around Surroundings
	mu     sync.Mutex
	known  map[groupKey]cached
}

type groupKey struct {
	org  tenant.OrgID
	name string
}

type cached struct {
	revision int64
	group    *Group
}

const cacheMost = 2000 // groups

func newCache(around Surroundings) *cache {
	return &cache{around: around, known: map[groupKey]cached{}}
}

// of is the claimed group, ready; without its rules if it was deleted.
func (c *cache) of(claim rule.Claim) *Group {
	if claim.Deleted {
		g := claim.Group
		g.Rules = nil
		return Prepare(g, c.around)
	}
	key := groupKey{claim.Org, claim.Group.Name}
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.known[key]; ok && k.revision == claim.Revision {
		return k.group
	}
	if len(c.known) >= cacheMost {
		clear(c.known) // begin anew: it fills again within an interval
	}
	g := Prepare(claim.Group, c.around)
	c.known[key] = cached{claim.Revision, g}
	return g
}
