package promql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

// testStorage is a storage.Storage over the tables of one database: each has an organisation, and a log that is only thought of, of
// its own.
type testStorage struct {
	storage.Queryable
	org    tenant.OrgID
	writer *samples.Writer
	offset int64
}

func newStorage(_ testing.TB, pool *pgxpool.Pool) *testStorage {
	org := tenant.OrgID{UUID: uuid.New()}
	return &testStorage{
		Queryable: samples.NewStore(pool, samples.Options{}).Queryable(org),
		org:       org,
		writer:    samples.NewWriter(pool, org.String(), slog.New(slog.DiscardHandler), nil),
	}
}

var errUnused = errors.New("promqltest is not known to use this")

func (s *testStorage) ChunkQuerier(int64, int64) (storage.ChunkQuerier, error) { return nil, errUnused }
func (s *testStorage) Appender(context.Context) storage.Appender               { panic(errUnused) }
func (s *testStorage) StartTime() (int64, error)                               { return math.MinInt64, nil }
func (s *testStorage) Close() error                                            { return nil }

func (s *testStorage) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &appender{ctx: ctx, storage: s, place: map[string]int{}}
}

// appender gathers samples; its Commit writes them as a record of the log.
type appender struct {
	ctx     context.Context
	storage *testStorage
	series  []series.Series
	place   map[string]int
}

func (a *appender) Append(_ storage.SeriesRef, ls labels.Labels, _, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram,
	_ storage.AppendV2Options,
) (storage.SeriesRef, error) {
	k := ls.String()
	i, ok := a.place[k]
	if !ok {
		i = len(a.series)
		a.place[k] = i
		a.series = append(a.series, series.Series{})
		ls.Range(func(l labels.Label) {
			a.series[i].Labels = append(a.series[i].Labels, series.Label{Name: l.Name, Value: l.Value})
		})
	}
	s := &a.series[i]
	var message prompb.Histogram
	switch {
	case fh != nil:
		message = prompb.FromFloatHistogram(t, fh)
	case h != nil:
		message = prompb.FromIntHistogram(t, h)
	default:
		s.Floats = append(s.Floats, series.Float{At: t, Value: v})
		return 0, nil
	}
	data, err := message.Marshal()
	s.Histograms = append(s.Histograms, series.Histogram{At: t, Data: data})
	return 0, err
}

func (a *appender) Rollback() error { return nil }

// Commit assigns the partition anew each time, so that every load is one after a restart, and is written at once.
func (a *appender) Commit() error {
	if len(a.series) == 0 {
		return nil
	}
	s := a.storage
	offset, err := s.writer.Assigned(a.ctx, 0)
	if err != nil {
		return err
	}
	if offset != s.offset {
		return fmt.Errorf("the writer is at %d, want %d", offset, s.offset)
	}
	rec := record.AppendSamples(nil, s.org, a.series, nil)
	received := time.UnixMilli(0).Add(samples.MaxAge - time.Hour)
	record.Stamp(rec, 1, uint64(offset)+1, received)
	s.offset++
	err = s.writer.Batch(a.ctx, 0, []record.Entry{{Offset: offset, Value: rec}}, true)
	s.writer.Revoked(0)
	return err
}
