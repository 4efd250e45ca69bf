package samples

import (
	"math"
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/tsdb/pgcopy"
)

// askAgain is how long a series is remembered before the database is asked whether it still has it. Series are removed when
// nobody has asked for them for much longer (see leastRetention).
const askAgain = 12 * time.Hour

// batch is what is read and not yet written of one partition, and what is remembered of its series.
type batch struct {
	now   time.Time
	cache cache
	buf   []byte

	rows    pgcopy.Rows // samples that are certainly new
	late    late        // those of instants that may be there already
	asks    []ask       // those of series that are not remembered
	asked   map[key]int // where in asks
	waiting int         // samples in asks
	bytes   int         // about what late and asks hold

	described map[key]key // what is in series_metadata, as far as it is remembered
	metadata  map[key]description
}

// late are samples as columns.
type late struct {
	ids        []int64
	at         []time.Time
	values     []float64
	histograms [][]byte
}

// ask is a series to be looked up, with the samples that wait for it.
type ask struct {
	key         key
	org         tenant.OrgID
	labels      []series.Label
	floats      []series.Float
	histograms  []series.Histogram
	since       int64 // the earliest of them
	first, last int32 // their days
}

// description is a row of series_metadata.
type description struct {
	org tenant.OrgID
	series.Metadata
	sum key
}

func newBatch() batch {
	b := batch{cache: newCache(1), asked: map[key]int{}, described: map[key]key{}, metadata: map[key]description{}}
	b.rows.Begin()
	return b
}

// begin is told what time it is, and how many series each generation may remember.
func (b *batch) begin(now time.Time, limit int) { b.now, b.cache.limit = now, limit }

func (b *batch) samples() int { return b.rows.Len() + len(b.late.ids) + b.waiting }

func (b *batch) size() int { return b.rows.Size() + b.bytes }

func (b *batch) empty() bool { return b.samples() == 0 && len(b.metadata) == 0 }

// written forgets what is written now; what is remembered stays.
func (b *batch) written() {
	b.rows.Begin()
	b.late = late{}
	b.asks, b.waiting, b.bytes = nil, 0, 0
	clear(b.asked)
	for k, d := range b.metadata {
		b.described[k] = d.sum
	}
	clear(b.metadata)
}

// add takes the samples of a record and returns how many it refused.
func (b *batch) add(s *record.Samples) (refused int) {
	from, to := s.At.Add(-MaxAge).UnixMilli(), s.At.Add(MaxAhead).UnixMilli()
	for i := range s.Series {
		x := &s.Series[i]
		n := len(x.Floats) + len(x.Histograms)
		l, ok := clean(x.Labels)
		if !ok {
			refused += n
			continue
		}
		x.Labels = l
		if n == 0 {
			continue
		}
		first, last := span(x)
		if first < from || last > to {
			x.Floats = slices.DeleteFunc(x.Floats, func(f series.Float) bool { return f.At < from || f.At > to })
			x.Histograms = slices.DeleteFunc(x.Histograms, func(h series.Histogram) bool { return h.At < from || h.At > to })
			left := len(x.Floats) + len(x.Histograms)
			refused += n - left
			if left == 0 {
				continue
			}
			first, last = span(x)
		}
		b.addSeries(s.Org, x, first, last)
	}
	for i := range s.Metadata {
		b.describe(s.Org, s.Metadata[i])
	}
	return refused
}

// span is the time of the first sample and of the last; there is one.
func span(s *series.Series) (first, last int64) {
	first, last = math.MaxInt64, math.MinInt64
	for _, f := range s.Floats {
		first, last = min(first, f.At), max(last, f.At)
	}
	for i := range s.Histograms {
		first, last = min(first, s.Histograms[i].At), max(last, s.Histograms[i].At)
	}
	return first, last
}

const dayMillis = 24 * 60 * 60 * 1000

// day is the number of a time's day since 1970 UTC.
func day(ms int64) int32 {
	return int32(min(max(floorDiv(ms, dayMillis), math.MinInt32), math.MaxInt32))
}

func (b *batch) addSeries(org tenant.OrgID, s *series.Series, first, last int64) {
	var k key
	k, b.buf = keyOf(b.buf, org, s.Labels)
	n := len(s.Floats) + len(s.Histograms)
	if i, ok := b.asked[k]; ok {
		a := &b.asks[i]
		a.floats, a.histograms = append(a.floats, s.Floats...), append(a.histograms, s.Histograms...)
		a.since, a.first, a.last = min(a.since, first), min(a.first, day(first)), max(a.last, day(last))
		b.wait(n, s)
		return
	}
	e := b.cache.get(k)
	if e != nil && e.first <= day(first) && day(last) <= e.until && b.now.Unix()-e.asked < int64(askAgain/time.Second) {
		b.put(e, s.Floats, s.Histograms)
		return
	}
	b.asked[k] = len(b.asks)
	b.asks = append(b.asks, ask{
		key: k, org: org, labels: s.Labels, floats: s.Floats, histograms: s.Histograms, since: first, first: day(first), last: day(last),
	})
	b.bytes += 32 * len(s.Labels)
	b.wait(n, s)
}

func (b *batch) wait(n int, s *series.Series) {
	b.waiting += n
	b.bytes += 32 * n
	for i := range s.Histograms {
		b.bytes += len(s.Histograms[i].Data)
	}
}

// put parts samples of a known series into those that are certainly new and the others.
func (b *batch) put(e *known, floats []series.Float, histograms []series.Histogram) {
	for _, f := range floats {
		b.sample(e, f.At, f.Value, nil)
	}
	for i := range histograms {
		b.sample(e, histograms[i].At, 0, histograms[i].Data)
	}
}

func (b *batch) sample(e *known, at int64, value float64, histogram []byte) {
	if at > e.last {
		e.last = at
		b.rows.Row(sampleColumns)
		b.rows.Int64(e.id)
		b.rows.Millis(at)
		b.rows.Float(value)
		if histogram == nil {
			b.rows.Null()
		} else {
			b.rows.Bytes(histogram)
		}
		return
	}
	b.late.ids = append(b.late.ids, e.id)
	b.late.at = append(b.late.at, time.UnixMilli(at))
	b.late.values = append(b.late.values, value)
	b.late.histograms = append(b.late.histograms, histogram)
	b.bytes += 48 + len(histogram)
}

// maxDescribed is how many descriptions are remembered before all are forgotten.
const maxDescribed = 100_000

// describe takes the description of a metric, unless it is known to be in the database.
func (b *batch) describe(org tenant.OrgID, m series.Metadata) {
	m = series.Metadata{
		Name: pgcopy.Storable(m.Name), Type: pgcopy.Storable(m.Type), Help: pgcopy.Storable(m.Help), Unit: pgcopy.Storable(m.Unit),
	}
	if m.Name == "" || len(m.Name) > maxName {
		return
	}
	var k, sum key
	k, b.buf = keyOf(b.buf, org, []series.Label{{Name: m.Name}})
	sum, b.buf = keyOf(b.buf, org, []series.Label{{Name: m.Type, Value: m.Help}, {Name: m.Unit}})
	if _, waits := b.metadata[k]; !waits && b.described[k] == sum {
		return
	}
	if len(b.described) > maxDescribed {
		clear(b.described)
	}
	b.metadata[k] = description{org: org, Metadata: m, sum: sum}
}
