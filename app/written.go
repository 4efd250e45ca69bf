package app

import (
	"context"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// written is the instant up to which all samples that were taken are stored. It looks where each partition of the log ends, and when
// the writer has come as far: then what was taken before the look is in the database.
type written struct {
	pool *pg.Pool
	log  eventlog.Log

	mu     sync.Mutex
	asked  time.Time
	stored []time.Time // of each partition
	looks  []look      // of each partition: the one that is waited for
}

// look is where a partition ended at a time.
type look struct {
	at  time.Time
	end int64
}

func newWritten(pool *pg.Pool, log eventlog.Log) *written {
	n := log.Partitions()
	return &written{pool: pool, log: log, stored: make([]time.Time, n), looks: make([]look, n)}
}

func (w *written) at(ctx context.Context) (time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.asked) >= horizonLife {
		if err := w.ask(ctx); err != nil {
			return time.Time{}, err
		}
		w.asked = time.Now()
	}
	least := w.stored[0]
	for _, t := range w.stored {
		if t.Before(least) {
			least = t
		}
	}
	return least, nil
}

func (w *written) ask(ctx context.Context) error {
	now := time.Now()
	ends := make([]int64, len(w.looks))
	for n := range ends {
		var err error
		if ends[n], err = w.log.End(ctx, n); err != nil {
			return err
		}
	}
	list, err := pg.CommittedAll(ctx, w.pool, w.log.ID(), len(ends))
	if err != nil {
		return err
	}
	next := make([]int64, len(ends)) // 0 where the writer has not begun
	for _, c := range list {
		if c.Consumer == samples.Consumer {
			next[c.Partition] = c.Next
		}
	}
	for n := range ends {
		if seen := w.looks[n]; !seen.at.IsZero() && next[n] >= seen.end {
			w.stored[n], w.looks[n] = seen.at, look{}
		}
		switch {
		case next[n] >= ends[n]:
			w.stored[n], w.looks[n] = now, look{}
		case w.looks[n].at.IsZero():
			w.looks[n] = look{now, ends[n]}
		}
	}
	return nil
}
