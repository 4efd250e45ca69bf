package pushgateway

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
)

// change is a push on its way into its group.
type change struct {
	g        *Gateway
	families []*family
	replace  bool
	ttl      *time.Duration // nil: as before
	refused  *answerError   // set by apply: the push cannot stand beside what is there
}

// apply makes the push durable and changes the group, which is locked, to what stands now.
func (c *change) apply(ctx context.Context, l *series.LockedGroup) error {
	old := c.g.standing(ctx, l)
	over := c.g.expired(l, old)
	if over != nil {
		old = nil
	}
	standing := c.families
	if !c.replace {
		standing = merge(old, c.families)
	}
	types := typesOf(standing)
	changed := !maps.Equal(types, typesOf(old))
	body, why := encodeBody(standing)
	if why != nil {
		c.refused = inconsistent(why)
	} else {
		why = c.check(ctx, l, standing, types, changed)
	}
	if why != nil {
		if c.refused == nil {
			return why // it could not be told
		}
		return c.g.failed(ctx, l)
	}
	l.Body = body
	at := c.g.next(l)
	gone := vanished(old, standing)
	l.PushedAt, l.LastAt = at, at
	if c.ttl != nil {
		l.TTL = *c.ttl
	}
	l.ExpiresAt = time.Time{}
	if l.TTL > 0 {
		l.ExpiresAt = at.Add(l.TTL)
	}
	if changed || over != nil || !l.Found {
		l.Metrics = types
	}
	written, err := samples(append(c.families, ownFamilies(&l.Group)...), at)
	if err != nil {
		return err
	}
	written = append(append(over, written...), ended(gone, at)...)
	about := c.g.known.Fresh(l.Org, describe(append(c.families, ownFamilies(&l.Group)...)), c.g.now())
	if err := c.g.o.Appender.AppendSamples(ctx, l.Org, written, about); err != nil {
		return err
	}
	c.g.known.Stored(l.Org, about)
	return nil
}

// standing are the group's families. A body that cannot be read has none: whoever pushes or deletes the group mends it.
func (g *Gateway) standing(ctx context.Context, l *series.LockedGroup) []*family {
	families, err := decodeBody(l.Body)
	if err != nil {
		g.o.Logger.ErrorContext(ctx, "a pushed group could not be read and is replaced", "organisation", l.Org, "labels", l.Labels, "error", err)
	}
	return families
}

// expired ends the series of a group whose time was over before anybody could end them: nil where it was not. What is written of the
// group next comes after that.
func (g *Gateway) expired(l *series.LockedGroup, old []*family) []series.Series {
	if l.ExpiresAt.IsZero() || l.ExpiresAt.After(g.now()) {
		return nil
	}
	at := endOf(&l.Group)
	if at.After(l.After) {
		l.After = at
	}
	return ended(vanished(append(old, ownFamilies(&l.Group)...), nil), at)
}

// check holds what is to stand to what else stands. It sets c.refused where it cannot; another error says that this could not be
// told.
func (c *change) check(ctx context.Context, l *series.LockedGroup, standing []*family, types map[string]string, changed bool) error {
	err := consistent(standing)
	n := 0
	for _, f := range standing {
		n += len(f.series)
	}
	if err == nil && n > c.g.o.MaxSeries {
		err = fmt.Errorf("the group has more than %d series", c.g.o.MaxSeries)
	}
	if err == nil && changed {
		name, other, lookup := l.TypeElsewhere(ctx, types)
		if lookup != nil {
			return lookup
		}
		if name != "" {
			err = fmt.Errorf("metric %s has type %s, but in another group it has type %s", name, typeName(types[name]), typeName(other))
		}
	}
	if err != nil {
		c.refused = inconsistent(err)
		return err
	}
	return nil
}

func typeName(t string) string {
	if t == "" {
		return "untyped"
	}
	return t
}

// failed notes in the group that a push of it was not taken, as the Pushgateway does: what stands there stays.
func (g *Gateway) failed(ctx context.Context, l *series.LockedGroup) error {
	at := g.next(l)
	l.FailedAt, l.LastAt = at, at
	if len(l.Body) == 0 {
		var err error
		if l.Body, err = encodeBody(nil); err != nil {
			return err
		}
	}
	written, err := samples(ownFamilies(&l.Group), at)
	if err != nil {
		return err
	}
	return g.o.Appender.AppendSamples(ctx, l.Org, written, nil)
}
