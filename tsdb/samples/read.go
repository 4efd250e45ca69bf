package samples

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/tsdb/pgcopy"
)

// errShape says that the database answered what it was not asked for.
var errShape = errors.New("a row of samples has another form than was asked for")

// read fills the series with their samples from mint to maxt and drops those that have none. What it reads is taken off left.
func (s *Store) read(ctx context.Context, left *atomic.Int64, list []*stored, mint, maxt int64) ([]*stored, error) {
	if len(list) == 0 || mint > maxt {
		return nil, nil
	}
	byID := make(map[int64]*stored, len(list))
	ids := make([]int64, len(list))
	for i, x := range list {
		byID[x.id], ids[i] = x, x.id
	}
	r := reading{byID: byID, mint: mint, maxt: maxt, left: left}
	// Rows before packs: what is packed in between is seen twice, and counts once; the other way round it would be missing.
	if err := s.readRows(ctx, &r, ids); err != nil {
		return nil, err
	}
	if err := s.readPacked(ctx, &r, ids); err != nil {
		return nil, err
	}
	for _, x := range list {
		x.finish()
	}
	return slices.DeleteFunc(list, func(x *stored) bool { return x.points.len() == 0 }), nil
}

// reading is one call of read.
type reading struct {
	byID       map[int64]*stored
	mint, maxt int64
	left       *atomic.Int64 // samples that the query may still read
}

// sampleBytes is what a float takes; a histogram counts as many samples as it takes of these.
const sampleBytes = 16

func (r *reading) take(n int) error {
	if r.left.Add(-int64(n)) < 0 {
		return fmt.Errorf("%w: the query brings too many samples into memory; narrow its selectors or its time", ErrLimit)
	}
	return nil
}

// bounded is the time as PostgreSQL's timestamptz can hold it.
func bounded(ms int64) time.Time {
	const least, greatest = -62_135_596_800_000, 253_402_300_799_999 // the years 1 to 9999
	return time.UnixMilli(min(max(ms, least), greatest))
}

func (s *Store) readRows(ctx context.Context, r *reading, ids []int64) error {
	rows, err := s.pool.Query(ctx, `
		select series_id, at, value, histogram from samples where series_id = any($1) and at >= $2 and at <= $3`,
		pgx.QueryResultFormats{pgx.BinaryFormatCode}, ids, bounded(r.mint), bounded(r.maxt))
	if err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	defer rows.Close()
	var x *stored
	for rows.Next() {
		v := rows.RawValues() // a scan would cost more than the row
		if len(v[0]) != 8 || len(v[1]) != 8 || len(v[2]) != 8 {
			return errShape
		}
		if id := int64(binary.BigEndian.Uint64(v[0])); x == nil || x.id != id {
			if x = r.byID[id]; x == nil {
				return errShape
			}
		}
		if err := r.take(1 + len(v[3])/sampleBytes); err != nil {
			return err
		}
		x.points.add(millisOf(v[1]), math.Float64frombits(binary.BigEndian.Uint64(v[2])), slices.Clone(v[3]))
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	return nil
}

// millisOf reads a timestamptz of PostgreSQL's binary format as milliseconds since 1970.
func millisOf(b []byte) int64 {
	return floorDiv(int64(binary.BigEndian.Uint64(b))+pgcopy.Epoch, 1000)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func (s *Store) readPacked(ctx context.Context, r *reading, ids []int64) error {
	from, to := bounded(r.mint), bounded(r.maxt)
	rows, err := s.pool.Query(ctx, `
		select series_id, form, data from samples_packed
		where series_id = any($1) and first_at > $2 and first_at <= $4 and last_at >= $3
		order by id`, ids, from.Add(-packWindow), from, to)
	if err != nil {
		return fmt.Errorf("read packed samples: %w", err)
	}
	var id int64
	var f form
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&id, &f, &data}, func() error {
		x := r.byID[id]
		if x == nil {
			return errShape
		}
		before := x.packed.len()
		if err := unpack(f, data, r.mint, r.maxt, &x.packed); err != nil {
			return fmt.Errorf("series %d: %w", id, err)
		}
		return r.take(x.packed.weight(before))
	})
	if err != nil {
		return fmt.Errorf("read packed samples: %w", err)
	}
	return nil
}

// points are samples as columns.
type points struct {
	at         []int64
	values     []float64
	histograms [][]byte // nil where all are floats
}

func (p *points) len() int { return len(p.at) }

// weight is how many samples those from i on count as.
func (p *points) weight(i int) int {
	n := p.len() - i
	if p.histograms != nil {
		for _, h := range p.histograms[i:] {
			n += len(h) / sampleBytes
		}
	}
	return n
}

func (p *points) add(at int64, v float64, histogram []byte) {
	if histogram != nil && p.histograms == nil {
		p.histograms = make([][]byte, len(p.at), max(16, cap(p.at)))
	}
	p.at, p.values = append(p.at, at), append(p.values, v)
	if p.histograms != nil {
		p.histograms = append(p.histograms, histogram)
	}
}

func (p *points) histogram(i int) []byte {
	if p.histograms == nil {
		return nil
	}
	return p.histograms[i]
}

// ordered reports whether each time is after the one before.
func (p *points) ordered() bool {
	for i := 1; i < len(p.at); i++ {
		if p.at[i] <= p.at[i-1] {
			return false
		}
	}
	return true
}

// Len, Less and Swap sort by time.
func (p *points) Len() int           { return len(p.at) }
func (p *points) Less(i, j int) bool { return p.at[i] < p.at[j] }
func (p *points) Swap(i, j int) {
	p.at[i], p.at[j] = p.at[j], p.at[i]
	p.values[i], p.values[j] = p.values[j], p.values[i]
	if p.histograms != nil {
		p.histograms[i], p.histograms[j] = p.histograms[j], p.histograms[i]
	}
}

// settle brings points into the order of time and keeps the first of each instant.
func (p *points) settle() {
	if p.ordered() {
		return
	}
	sort.Stable(p)
	n := 0
	for i := range p.at {
		if n > 0 && p.at[i] == p.at[n-1] {
			continue
		}
		p.at[n], p.values[n] = p.at[i], p.values[i]
		if p.histograms != nil {
			p.histograms[n] = p.histograms[i]
		}
		n++
	}
	p.at, p.values = p.at[:n], p.values[:n]
	if p.histograms != nil {
		p.histograms = p.histograms[:n]
	}
}
