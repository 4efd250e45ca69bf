package logclock_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/logclock"
	"github.com/tokiflow/tokiflow/core/record"
)

var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant, were there any of this type

func sec(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }

// bench is a partition with appenders that stamp by hand.
type bench struct {
	t   *testing.T
	c   logclock.Clock
	seq map[uint64]uint64
}

func newBench(t *testing.T) *bench { return &bench{t: t, seq: map[uint64]uint64{}} }

func (b *bench) feed(rec []byte, appender uint64, at float64) bool {
	b.t.Helper()
	b.seq[appender]++
	record.Stamp(rec, appender, b.seq[appender], sec(at))
	_, fresh, err := b.c.Observe(rec)
	if err != nil {
		b.t.Fatal(err)
	}
	return fresh
}

func (b *bench) marker(appender uint64, since, at float64) {
	b.t.Helper()
	b.feed(record.AppendMarker(nil, record.Marker{Since: sec(since)}), appender, at)
}

func (b *bench) ping(appender uint64, at float64) {
	b.t.Helper()
	b.feed(record.AppendPing(nil, &record.Ping{Kind: record.Success}), appender, at)
}

func (b *bench) judged(want float64) {
	b.t.Helper()
	if got := b.c.Judged(); !got.Equal(sec(want)) {
		b.t.Errorf("judged %v s, want %v s", got.Sub(start).Seconds(), want)
	}
}

func (b *bench) gaps(want ...logclock.Gap) {
	b.t.Helper()
	if diff := cmp.Diff(want, b.c.TakeGaps()); diff != "" {
		b.t.Errorf("gaps (-want +got)\n%s", diff)
	}
}

func gap(from, to float64) logclock.Gap { return logclock.Gap{From: sec(from), To: sec(to)} }

func TestOneAppender(t *testing.T) {
	b := newBench(t)
	b.marker(1, 0, 0)
	b.judged(0)
	b.ping(1, 0.5)
	b.judged(0) // whether 0 to 0.5 was a gap, only the next marker tells
	b.marker(1, 0, 1)
	b.judged(1)
	b.gaps()
	// It was frozen or could not append from 2 on.
	b.marker(1, 0, 2)
	b.marker(1, 7, 7)
	b.judged(7)
	b.gaps(gap(2, 7))
}

func TestRestart(t *testing.T) {
	for _, exclusive := range []bool{true, false} {
		b := newBench(t)
		b.marker(1, 0, 10)
		b.seq[2]++
		rec := record.AppendMarker(nil, record.Marker{Since: sec(20), Exclusive: exclusive})
		record.Stamp(rec, 2, 1, sec(20))
		if _, _, err := b.c.Observe(rec); err != nil {
			t.Fatal(err)
		}
		if exclusive { // the old one has ended for certain
			b.judged(20)
			b.gaps(gap(10, 20))
			continue
		}
		b.judged(10) // the old one may still have a batch on its way
		b.marker(2, 20, 30)
		b.judged(10)
		b.gaps()
		b.marker(2, 20, 30.5)
		b.judged(30.5)
		b.gaps(gap(10, 20))
	}
}

func TestClosingAppenderHoldsNothingBack(t *testing.T) {
	b := newBench(t)
	b.marker(1, 0, 10)
	b.marker(2, 9.5, 10.2)
	b.judged(10)
	b.feed(record.AppendMarker(nil, record.Marker{Since: sec(0), Closing: true}), 1, 10.4)
	b.judged(10.2)
	b.marker(2, 9.5, 11.2)
	b.judged(11.2)
	b.gaps()
}

func TestOneOfTwoIsEnoughToReceive(t *testing.T) {
	b := newBench(t)
	b.marker(1, 0, 10)
	b.marker(2, 0, 10)
	b.marker(1, 0, 11)
	b.marker(2, 14, 14) // 2 could not receive from 10 to 14
	b.judged(11)
	b.marker(1, 0, 14.5)
	b.judged(14)
	b.gaps()
}

func TestTheSlowestHoldsTheWatermark(t *testing.T) {
	b := newBench(t)
	b.marker(1, 0, 10)
	b.marker(2, 0, 10)
	for s := 11.0; s <= 20; s++ {
		b.marker(1, 0, s)
		b.judged(10)
	}
	b.marker(1, 0, 20.5) // more than DeadAfter
	b.judged(20.5)
}

func TestAClockThatIsAheadKillsNobody(t *testing.T) {
	b := newBench(t)
	b.marker(1, 0, 10)
	b.marker(2, 3600, 3600)
	for s := 11.0; s < 100; s++ {
		b.marker(1, 0, s)
		b.marker(2, 3600, 3600+s)
		b.judged(s)
	}
	b.gaps()
}

func TestRepetitions(t *testing.T) {
	b := newBench(t)
	first := record.AppendPing(nil, &record.Ping{Kind: record.Start})
	if !b.feed(first, 1, 1) {
		t.Error("the first is new")
	}
	if _, fresh, _ := b.c.Observe(first); fresh {
		t.Error("the same again is not")
	}
	again := record.AppendPing(nil, &record.Ping{Kind: record.Start})
	record.Stamp(again, 2, 1, sec(1))
	if _, fresh, _ := b.c.Observe(again); !fresh {
		t.Error("the same number of another appender is new")
	}
	b.feed(record.AppendMarker(nil, record.Marker{Since: sec(0), Closing: true}), 1, 2)
	if _, fresh, _ := b.c.Observe(first); fresh {
		t.Error("a repetition is known for one after its appender has closed")
	}
}

func TestMalformedChangesNothing(t *testing.T) {
	b := newBench(t)
	b.marker(1, 0, 5)
	before, _ := json.Marshal(&b.c)
	bad := record.AppendMarker(nil, record.Marker{Since: sec(0)})
	record.Stamp(bad, 1, 99, sec(50))
	for _, rec := range [][]byte{nil, {1}, bad[:len(bad)-1], append([]byte{9}, bad[1:]...)} {
		if _, _, err := b.c.Observe(rec); err == nil {
			t.Errorf("%x was taken", rec)
		}
	}
	if after, _ := json.Marshal(&b.c); string(after) != string(before) {
		t.Errorf("%s became %s", before, after)
	}
}

// TestNeverBackAndAnyBatching: whatever appenders do, the clock only goes forward, gaps are apart and lie before it, and
// storing and loading it between any two records changes nothing.
func TestNeverBackAndAnyBatching(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		a, stored := newBench(t), logclock.Clock{}
		var gapsA, gapsB []logclock.Gap
		now, last := map[uint64]float64{}, time.Time{}
		for range 300 {
			id := 1 + rnd.Uint64N(3)
			now[id] += rnd.Float64() * 2
			if rnd.IntN(30) == 0 {
				now[id] += 20
			}
			var rec []byte
			if rnd.IntN(2) == 0 {
				since := max(0, now[id]-rnd.Float64()*5)
				rec = record.AppendMarker(nil, record.Marker{Since: sec(since), Closing: rnd.IntN(40) == 0, Exclusive: rnd.IntN(40) == 0})
			} else {
				rec = record.AppendPing(nil, &record.Ping{Kind: record.Success})
			}
			a.feed(rec, id, now[id])
			gapsA = append(gapsA, a.c.TakeGaps()...)
			if _, _, err := stored.Observe(rec); err != nil {
				t.Fatal(err)
			}
			gapsB = append(gapsB, stored.TakeGaps()...)
			if rnd.IntN(5) == 0 {
				data, _ := json.Marshal(&stored)
				stored = logclock.Clock{}
				if err := json.Unmarshal(data, &stored); err != nil {
					t.Fatal(err)
				}
			}
			if a.c.Judged().Before(last) {
				t.Fatalf("seed %d: back from %v to %v", seed, last, a.c.Judged())
			}
			last = a.c.Judged()
		}
		if !stored.Judged().Equal(a.c.Judged()) {
			t.Fatalf("seed %d: %v and, stored between, %v", seed, a.c.Judged(), stored.Judged())
		}
		if diff := cmp.Diff(gapsA, gapsB); diff != "" {
			t.Fatalf("seed %d: gaps differ\n%s", seed, diff)
		}
		for i, g := range gapsA {
			if !g.From.Before(g.To) || g.To.After(last) || i > 0 && g.From.Before(gapsA[i-1].To) {
				t.Fatalf("seed %d: gaps %v", seed, gapsA)
			}
		}
	}
}

func TestGapsBetween(t *testing.T) {
	g := logclock.NewGaps([]logclock.Gap{gap(30, 40), gap(10, 20), gap(15, 22), gap(50, 50)})
	for _, c := range []struct{ from, to, want float64 }{
		{0, 5, 0}, {0, 10, 0}, {0, 11, 1}, {12, 15, 3}, {0, 25, 12}, {0, 100, 22}, {35, 100, 5}, {40, 100, 0}, {21, 31, 2}, {9, 9, 0}, {31, 12, 0},
	} {
		if got := g.Between(sec(c.from), sec(c.to)).Seconds(); got != c.want {
			t.Errorf("between %v and %v: %v s, want %v s", c.from, c.to, got, c.want)
		}
	}
	if got := (*logclock.Gaps)(nil).Between(sec(0), sec(9)); got != 0 {
		t.Errorf("no gaps: %v", got)
	}
}
