package samples_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

const logID = "the log of samples"

func org(n byte) tenant.OrgID { return tenant.OrgID{UUID: uuid.UUID{0: 0x0f, 15: n}} }

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05.999", s)
	if err != nil {
		panic(err)
	}
	return t
}

// topic makes the records of one partition of the log, stamped by one appender.
type topic struct {
	recs []record.Entry
	seq  uint64
	now  time.Time
}

func newTopic() *topic { return &topic{now: at("2026-03-01 12:00:00")} }

func (l *topic) add(rec []byte) {
	l.seq++
	record.Stamp(rec, 9, l.seq, l.now)
	l.append(rec)
}

func (l *topic) append(rec []byte) {
	l.recs = append(l.recs, record.Entry{Offset: int64(len(l.recs)), Value: rec})
}

func (l *topic) samples(org tenant.OrgID, s ...series.Series) {
	l.add(record.AppendSamples(nil, org, s, nil))
}

// labelled makes labels of names and values in turns.
func labelled(pairs ...string) []series.Label {
	var l []series.Label
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, series.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	series.Sort(l)
	return l
}

// floats makes samples of times and values in turns.
func floats(pairs ...float64) []series.Float {
	var f []series.Float
	for i := 0; i < len(pairs); i += 2 {
		f = append(f, series.Float{At: int64(pairs[i]), Value: pairs[i+1]})
	}
	return f
}

func newWriter(pool *pgxpool.Pool) *samples.Writer {
	return samples.NewWriter(pool, logID, slog.New(slog.DiscardHandler), nil)
}

// feed assigns partition 0 and hands over the records from the offset asked for.
func feed(t testing.TB, w *samples.Writer, l *topic) {
	t.Helper()
	offset, err := w.Assigned(ctxFor(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Batch(ctxFor(t), 0, l.recs[offset:], true); err != nil {
		t.Fatal(err)
	}
}

func ctxFor(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// logBuffer is a logger and what it wrote.
func logBuffer() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}
