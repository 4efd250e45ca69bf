package promapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// batchSamples is how many samples Samples gathers before it hands them over.
const batchSamples = 5000

// Samples gives the samples of all computed series at the multiples of step in (from, to], staleness markers included, so
// that windows that follow one another give each sample once. It gives what the history says now: the caller keeps to
// instants up to which that is complete. A monitor's samples come together, in batches of some thousand; f must not keep
// what it gets. step must be at least a second.
func (a *API) Samples(ctx context.Context, org tenant.OrgID, from, to time.Time, step time.Duration, f func([]series.Series) error) error {
	if step < time.Second {
		return errors.New("the step must be at least 1s")
	}
	ms := step.Milliseconds()
	w := window{first: ceil(from.UnixMilli()+1, ms), last: floor(to.UnixMilli(), ms), step: ms}
	if w.empty() {
		return nil
	}
	q := &querier{api: a, org: org}
	s := a.catalog.choose(nil)
	var batch []series.Series
	held := 0
	give := func() error {
		if held == 0 {
			return nil
		}
		err := f(batch)
		batch, held = batch[:0], 0
		return err
	}
	err := q.read(ctx, s, w.before(), w, func(t *timeline.Timeline) error {
		b := builder{selection: s, window: w, budget: &budget{most: a.limits.MaxSeries}, most: a.limits.MaxSamples}
		if err := b.series(t); err != nil {
			return err
		}
		for _, x := range b.out {
			out, err := samplesOf(x)
			if err != nil {
				return err
			}
			batch = append(batch, out)
			if held += len(out.Floats) + len(out.Histograms); held >= batchSamples {
				if err := give(); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return give()
}

// samplesOf reads a series whole.
func samplesOf(x storage.Series) (series.Series, error) {
	var out series.Series
	x.Labels().Range(func(l labels.Label) { out.Labels = append(out.Labels, series.Label{Name: l.Name, Value: l.Value}) })
	it := x.Iterator(nil)
	for {
		switch it.Next() {
		case chunkenc.ValNone:
			return out, it.Err()
		case chunkenc.ValFloat:
			t, v := it.At()
			out.Floats = append(out.Floats, series.Float{At: t, Value: v})
		default:
			t, h := it.AtHistogram(nil)
			p := prompb.FromIntHistogram(t, h)
			data, err := p.Marshal()
			if err != nil {
				return out, fmt.Errorf("writing a histogram: %w", err)
			}
			out.Histograms = append(out.Histograms, series.Histogram{At: t, Data: data})
		}
	}
}
