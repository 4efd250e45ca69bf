package pushgateway

import (
	"context"
	"errors"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
)

// lookEvery is how often Run looks whether a group has expired, or it is time for the values of all; page is how many groups it
// locks, and has in memory, at a time: one may have 16 MiB.
const (
	lookEvery = 5 * time.Second
	page      = 32
)

// Run keeps the values of all groups standing, and ends those whose time is over, until ctx ends; it returns ctx's error. Any
// number of processes may run it: each beat is claimed by one.
func (g *Gateway) Run(ctx context.Context) error {
	if g.o.Standing == nil {
		return errors.New("push: Options need Standing to keep groups")
	}
	b := &beat{g: g}
	failing := false
	for {
		next, err := b.look(ctx)
		if err != nil && ctx.Err() == nil {
			g.metrics.failures.Inc()
			if !failing {
				g.o.Logger.WarnContext(ctx, "pushed metrics could not be kept standing, trying again", "every", lookEvery, "error", err)
			}
		}
		failing = err != nil
		t := time.NewTimer(min(max(next.Sub(g.now()), 10*time.Millisecond), lookEvery))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// beat is one process's part in keeping groups standing.
type beat struct {
	g      *Gateway
	at     time.Time // the instant claimed; zero: none
	begun  time.Time
	cursor series.GroupCursor
	groups int
}

// look does what is due and says when to look again.
func (b *beat) look(ctx context.Context) (next time.Time, err error) {
	now := b.g.now()
	next = now.Add(lookEvery)
	for {
		n, err := b.g.o.Standing.ExpirePushGroups(ctx, now, page, func(groups []series.Group) error { return b.g.end(ctx, groups) })
		if err != nil {
			return next, err
		}
		b.g.metrics.expired.Add(float64(n))
		if n < page {
			break
		}
	}
	if err := b.sound(ctx, now); err != nil {
		return next, err
	}
	expiry, err := b.g.o.Standing.NextPushExpiry(ctx)
	if err == nil && !expiry.IsZero() && expiry.Before(next) {
		next = expiry
	}
	return next, err
}

// sound writes the values of all groups if it is time and this process's turn; after an error it goes on where it was, as long as
// the instant is the last one.
func (b *beat) sound(ctx context.Context, now time.Time) error {
	if !b.at.IsZero() && now.Sub(b.at) >= b.g.o.Every {
		b.at = time.Time{}
	}
	if b.at.IsZero() {
		ours, err := b.g.o.Standing.ClaimPushBeat(ctx, now, b.g.o.Every)
		if err != nil || !ours {
			return err
		}
		*b = beat{g: b.g, at: now, begun: now}
	}
	for {
		more, err := b.g.o.Standing.BeatPushGroups(ctx, b.at, &b.cursor, page, func(groups []series.Group) error {
			b.groups += len(groups)
			return b.g.repeat(ctx, groups, b.at)
		})
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	b.g.metrics.beats.Inc()
	b.g.metrics.groups.Set(float64(b.groups))
	b.g.metrics.took.Set(b.g.now().Sub(b.begun).Seconds())
	b.at = time.Time{}
	return nil
}

// repeat appends the values of groups.
func (g *Gateway) repeat(ctx context.Context, groups []series.Group, at time.Time) error {
	return g.each(ctx, groups, func(group *series.Group, families []*family) ([]series.Series, error) {
		return samples(append(families, ownFamilies(group)...), at)
	})
}

// end appends staleness markers to the series of groups, each at the time at which its group was over.
func (g *Gateway) end(ctx context.Context, groups []series.Group) error {
	return g.each(ctx, groups, func(group *series.Group, families []*family) ([]series.Series, error) {
		return ended(vanished(append(families, ownFamilies(group)...), nil), endOf(group)), nil
	})
}

// endOf is when the series of a group that has expired end: no beat has written them then or later, and a push only before.
func endOf(group *series.Group) time.Time {
	if after := group.LastAt.Add(time.Millisecond); after.After(group.ExpiresAt) {
		return after
	}
	return group.ExpiresAt
}

// atOnce is how many series are appended at a time.
const atOnce = 20_000

// each appends what f makes of each group. A group whose body cannot be read is left out and logged: it must not keep the others
// down.
func (g *Gateway) each(ctx context.Context, groups []series.Group, f func(*series.Group, []*family) ([]series.Series, error)) error {
	var collected []series.Series
	for i := range groups {
		group := &groups[i]
		families, err := decodeBody(group.Body)
		if err == nil {
			var s []series.Series
			s, err = f(group, families)
			collected = append(collected, s...)
		}
		if err != nil {
			g.metrics.failures.Inc()
			g.o.Logger.ErrorContext(ctx, "a pushed group cannot be read: push it again, or delete it",
				"organisation", group.Org, "labels", group.Labels, "error", err)
		}
		if i+1 < len(groups) && groups[i+1].Org == group.Org && len(collected) < atOnce || len(collected) == 0 {
			continue
		}
		if err := g.o.Appender.AppendSamples(ctx, group.Org, collected, nil); err != nil {
			return err
		}
		collected = nil
	}
	return nil
}
