package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/tokiflow/tokiflow/core/fault"
)

// createTimeout is how long making a monitor may take: the database is in it.
const createTimeout = 10 * time.Second

// create makes the monitor of a slug URL with create=1, once for all who ask at the same time. The result is
// resultCreated for the one request that made it, resultOK for one that found it made; else there is no target.
func (g *Ingest) create(ctx context.Context, p *project, slug string) (*target, result) {
	mine := false
	// The work goes on when the first to ask goes away: others wait for it.
	shared := context.WithoutCancel(ctx)
	made, err, _ := g.creates.Do(p.Key+"/"+slug, func() (any, error) {
		if found := g.cache.bySlug(p.Project.UUID, slug); len(found) == 1 {
			return found[0], nil
		}
		ctx, cancel := context.WithTimeout(shared, createTimeout)
		defer cancel()
		t, created, err := g.o.Creator.Create(ctx, p.ProjectKey, slug)
		if err != nil {
			return nil, err
		}
		mine = created
		return g.cache.add(t), nil
	})
	if err != nil {
		return nil, g.refusal(err)
	}
	t := made.(*target)
	if !mine {
		return t, resultOK
	}
	g.log.Info("a ping made a monitor", "org", t.Org, "project", t.Project, "monitor", t.Monitor, "slug", slug)
	return t, resultCreated
}

// refusal is what to answer when no monitor could be made.
func (g *Ingest) refusal(err error) result {
	switch code := fault.CodeOf(err); {
	case errors.Is(err, ErrLimit) || code == fault.NotFound:
		return resultNotFound
	case code == fault.Ambiguous:
		return resultAmbiguous
	}
	g.log.Warn("a monitor asked for by a ping could not be made; the client was told to try again", "error", err)
	return resultUnavailable
}
