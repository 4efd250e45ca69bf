package tsdb

import (
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tokiflow/tokiflow/core/history"
)

// page are a list's bounds as query arguments. A zero From, To or After is no bound.
type page[T any] struct {
	from, to, at pgtype.Timestamptz
	tie          T
	limit        int
}

func newPage[T any](p history.Page, parse func(string) (T, error)) (page[T], error) {
	a := page[T]{
		from:  bound(p.From, pgtype.NegativeInfinity),
		to:    bound(p.To, pgtype.Infinity),
		at:    bound(p.After.At, pgtype.Infinity),
		limit: min(max(p.Limit, 1), maxLimit),
	}
	if p.After == (history.Key{}) {
		return a, nil
	}
	var err error
	if a.tie, err = parse(p.After.Tie); err != nil || p.After.At.IsZero() {
		return page[T]{}, ErrBadKey
	}
	return a, nil
}

func bound(t time.Time, otherwise pgtype.InfinityModifier) pgtype.Timestamptz {
	if t.IsZero() {
		return pgtype.Timestamptz{Valid: true, InfinityModifier: otherwise}
	}
	return pgtype.Timestamptz{Valid: true, Time: t}
}

func parseSerial(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }

func formatSerial(n int64) string { return strconv.FormatInt(n, 10) }
