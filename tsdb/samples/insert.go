package samples

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/tsdb/pgcopy"
)

const copySamples = `copy samples (series_id, at, value, histogram) from stdin (format binary)`

const sampleColumns = 4

// flush writes samples, series, metadata, offset and clock in one transaction.
func (w *Writer) flush(ctx context.Context, p *assigned) error {
	begun := w.now()
	var done written
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) (err error) {
		if err := p.Commit(ctx, tx); err != nil {
			return err
		}
		done, err = p.batch.write(ctx, tx)
		return err
	})
	if err != nil {
		if errors.Is(err, pg.ErrFenced) {
			w.metrics.fenced.Inc()
		}
		return fmt.Errorf("write samples of partition %d: %w", p.Partition(), err)
	}
	ended := w.now()
	w.metrics.seconds.Observe(ended.Sub(begun).Seconds())
	w.metrics.written.Add(float64(done.copied + done.inserted))
	w.metrics.late.Add(float64(done.late))
	w.metrics.duplicates.Add(float64(done.late - done.inserted))
	w.metrics.series.Add(float64(done.asked))
	p.Committed(ended)
	p.batch.written()
	return nil
}

// written counts what a transaction did: samples copied, looked up one by one, inserted of these; series asked for.
type written struct{ copied, late, inserted, asked int64 }

// write writes the batch. After an error what the batch remembers is wrong, and it must be thrown away.
func (b *batch) write(ctx context.Context, tx pgx.Tx) (done written, err error) {
	done.asked = int64(len(b.asks))
	if done.copied, err = b.copyRows(ctx, tx); err != nil {
		return done, err
	}
	if len(b.asks) > 0 {
		// Behind the copy: a series that was forgotten meanwhile may have samples in it.
		if err := b.resolve(ctx, tx); err != nil {
			return done, err
		}
		n, err := b.copyRows(ctx, tx)
		if err != nil {
			return done, err
		}
		done.copied += n
	}
	done.late = int64(len(b.late.ids))
	if done.inserted, err = b.insertLate(ctx, tx); err != nil {
		return done, err
	}
	return done, b.insertMetadata(ctx, tx)
}

func (b *batch) copyRows(ctx context.Context, tx pgx.Tx) (int64, error) {
	n := int64(b.rows.Len())
	if n == 0 {
		return 0, nil
	}
	if err := copyInto(ctx, tx, copySamples, &b.rows); err != nil {
		return 0, err
	}
	b.rows.Begin()
	return n, nil
}

// copyInto copies all of the rows, or it is an error.
func copyInto(ctx context.Context, tx pgx.Tx, sql string, rows *pgcopy.Rows) error {
	n := rows.Len()
	tag, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(rows.End()), sql)
	if err != nil {
		return fmt.Errorf("copy %d rows: %w", n, err)
	}
	if tag.RowsAffected() != int64(n) {
		return fmt.Errorf("copy %d rows: %d were taken", n, tag.RowsAffected())
	}
	return nil
}

// insertLate inserts samples of instants that may be there already, in this batch too. It returns how many were not.
func (b *batch) insertLate(ctx context.Context, tx pgx.Tx) (int64, error) {
	if len(b.late.ids) == 0 {
		return 0, nil
	}
	first, last := b.late.at[0], b.late.at[0]
	for _, t := range b.late.at {
		if t.Before(first) {
			first = t
		}
		if t.After(last) {
			last = t
		}
	}
	tag, err := tx.Exec(ctx, `
		insert into samples (series_id, at, value, histogram)
		select distinct on (n.series_id, n.at) n.series_id, n.at, n.value, n.histogram
		from unnest($1::bigint[], $2::timestamptz[], $3::double precision[], $4::bytea[])
		     with ordinality as n(series_id, at, value, histogram, place)
		where not exists (select from samples s where s.series_id = n.series_id and s.at = n.at and s.at >= $5 and s.at <= $6)
		order by n.series_id, n.at, n.place`,
		b.late.ids, b.late.at, b.late.values, b.late.histograms, first, last)
	if err != nil {
		return 0, fmt.Errorf("insert %d late samples: %w", len(b.late.ids), err)
	}
	return tag.RowsAffected(), nil
}

// resolve looks up the series asked for, makes those that are new, and parts their samples.
func (b *batch) resolve(ctx context.Context, tx pgx.Tx) error {
	if err := b.upsert(ctx, tx); err != nil {
		return err
	}
	if err := b.findLast(ctx, tx); err != nil {
		return err
	}
	for i := range b.asks {
		a := &b.asks[i]
		b.put(b.cache.get(a.key), a.floats, a.histograms)
	}
	b.asks, b.waiting = nil, 0
	clear(b.asked)
	return nil
}

// upsert makes the series asked for known to the database and to the cache.
func (b *batch) upsert(ctx context.Context, tx pgx.Tx) error {
	n := len(b.asks)
	// In one order everywhere, should another partition ever ask for the same.
	slices.SortFunc(b.asks, func(x, y ask) int { return bytes.Compare(x.key[:], y.key[:]) })
	orgs, keys := make([][16]byte, n), make([][16]byte, n)
	names, labels := make([]string, n), make([]string, n)
	first, last := make([]int32, n), make([]int32, n)
	for i := range b.asks {
		a := &b.asks[i]
		orgs[i], keys[i], names[i], first[i], last[i] = a.org.UUID, a.key, nameOf(a.labels), a.first, a.last
		text, err := labelsJSON(a.labels)
		if err != nil {
			return fmt.Errorf("labels of a series: %w", err)
		}
		labels[i] = text
	}
	rows, err := tx.Query(ctx, `
		insert into series as s (org_id, hash, name, labels, first_day, last_day)
		select n.org_id, n.hash, n.name, n.labels::jsonb, n.first_day, n.last_day
		from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::integer[], $6::integer[])
		     as n(org_id, hash, name, labels, first_day, last_day)
		on conflict (org_id, hash) do update set seen_at = now(),
			first_day = least(s.first_day, excluded.first_day), last_day = greatest(s.last_day, excluded.last_day)
		returning hash, id, first_day, last_day`, orgs, keys, names, labels, first, last)
	if err != nil {
		return fmt.Errorf("look up %d series: %w", n, err)
	}
	b.cache.limit = max(b.cache.limit, n) // those of this batch must all be there below
	var k key
	e := known{asked: b.now.Unix(), last: never}
	found := 0
	_, err = pgx.ForEachRow(rows, []any{&k, &e.id, &e.first, &e.until}, func() error {
		found++
		fresh := e
		if old := b.cache.get(k); old != nil {
			fresh.last = old.last
		}
		b.cache.put(k, fresh)
		return nil
	})
	if err == nil && found != n {
		err = fmt.Errorf("%d were returned", found)
	}
	if err != nil {
		return fmt.Errorf("look up %d series: %w", n, err)
	}
	return nil
}

// never is before every sample.
const never = -1 << 63

// findLast finds the latest sample of each series asked for. It looks no further back than to the earliest of the samples that
// wait: if there is none since then, every one of these is new.
func (b *batch) findLast(ctx context.Context, tx pgx.Tx) error {
	n := len(b.asks)
	keys, ids, since := make([]key, n), make([]int64, n), make([]time.Time, n)
	var earliest time.Time
	for i := range b.asks {
		a := &b.asks[i]
		e := b.cache.get(a.key)
		e.last = max(e.last, a.since-1)
		keys[i], ids[i], since[i] = a.key, e.id, time.UnixMilli(a.since)
		if i == 0 || since[i].Before(earliest) {
			earliest = since[i]
		}
	}
	rows, err := tx.Query(ctx, `
		select n.place, greatest(
			(select s.at from samples s where s.series_id = n.id and s.at >= n.since and s.at >= $3 order by s.at desc limit 1),
			(select max(p.last_at) from samples_packed p where p.series_id = n.id and p.first_at > n.since - $4::interval and p.last_at >= n.since))
		from unnest($1::bigint[], $2::timestamptz[]) with ordinality as n(id, since, place)`, ids, since, earliest, packWindow)
	if err != nil {
		return fmt.Errorf("find the last samples of %d series: %w", n, err)
	}
	var place int64
	var at *time.Time
	_, err = pgx.ForEachRow(rows, []any{&place, &at}, func() error {
		if at != nil {
			e := b.cache.get(keys[place-1])
			e.last = max(e.last, at.UnixMilli())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("find the last samples of %d series: %w", n, err)
	}
	return nil
}

// labelsJSON is the labels without the name as an object.
func labelsJSON(l []series.Label) (string, error) {
	m := make(map[string]string, len(l))
	for i := range l {
		if l[i].Name != series.NameLabel {
			m[l[i].Name] = l[i].Value
		}
	}
	b, err := json.Marshal(m)
	return string(b), err
}

// insertMetadata writes descriptions; the latest of a metric counts.
func (b *batch) insertMetadata(ctx context.Context, tx pgx.Tx) error {
	n := len(b.metadata)
	if n == 0 {
		return nil
	}
	// In one order everywhere: several partitions may describe the same metrics at once.
	keys := slices.SortedFunc(maps.Keys(b.metadata), func(x, y key) int { return bytes.Compare(x[:], y[:]) })
	orgs := make([][16]byte, n)
	var columns [4][]string
	for i, k := range keys {
		d := b.metadata[k]
		orgs[i] = d.org.UUID
		for c, s := range [...]string{d.Name, d.Type, d.Help, d.Unit} {
			columns[c] = append(columns[c], s)
		}
	}
	_, err := tx.Exec(ctx, `
		insert into series_metadata as m (org_id, name, type, help, unit)
		select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
		on conflict (org_id, name) do update set type = excluded.type, help = excluded.help, unit = excluded.unit
		where (m.type, m.help, m.unit) is distinct from (excluded.type, excluded.help, excluded.unit)`,
		orgs, columns[0], columns[1], columns[2], columns[3])
	if err != nil {
		return fmt.Errorf("describe %d metrics: %w", n, err)
	}
	return nil
}
