package exporter

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tokiflow/tokiflow/core/metric"
)

// What a scrape says of itself.
const (
	seriesName  = "tokiflow_exporter_series"
	droppedName = "tokiflow_exporter_series_dropped"
	ageName     = "tokiflow_exporter_states_age_seconds"
)

// answer writes one scrape.
type answer struct {
	e           *Exporter
	f           format
	enc         encoding
	now         time.Time
	blocks      []*block
	chosen, cut []uint64 // the monitors of each block
	body        *body

	series, dropped int
}

// answer writes what the selection chooses of the fleet, which is as of fresh.
func (e *Exporter) answer(fl *fleet, sel *selection, f format, enc encoding, now, fresh time.Time) (*body, error) {
	a := &answer{
		e: e, f: f, enc: enc, now: now, body: e.packers.newBody(enc), blocks: fl.blocks,
		chosen: make([]uint64, len(fl.blocks)), cut: make([]uint64, len(fl.blocks)),
	}
	for i, b := range fl.blocks {
		a.chosen[i], a.cut[i] = sel.mask(b, fl.last)
	}
	parts, err := a.parts(sel)
	if err != nil {
		return nil, err
	}
	for i := range e.layout.families {
		if !sel.family(i) {
			continue
		}
		if err := a.family(i, parts[i*len(a.blocks):][:len(a.blocks)]); err != nil {
			return nil, err
		}
		if fl.last != nil {
			a.drop(i)
		}
	}
	if err := a.own(now.Sub(fresh)); err != nil {
		return nil, err
	}
	a.body.close()
	return a.body, nil
}

// parts are the families' parts of the blocks, block by block in each family. What is not kept is written by several at once,
// each a block after the other in all families, so that its monitors are fetched from memory once.
func (a *answer) parts(sel *selection) ([]*chunk, error) {
	var (
		all   = make([]*chunk, len(a.e.layout.families)*len(a.blocks))
		next  atomic.Int64
		work  errgroup.Group
		hands = min(runtime.GOMAXPROCS(0), 1+len(a.blocks)/8)
	)
	for range hands {
		work.Go(func() error {
			p := a.e.pens.get()
			defer a.e.pens.put(p)
			for k := int(next.Add(1)) - 1; k < len(a.blocks); k = int(next.Add(1)) - 1 {
				if a.chosen[k] == 0 {
					continue
				}
				for i := range a.e.layout.families {
					if !sel.family(i) {
						continue
					}
					c, err := a.block(p, i, k)
					if err != nil {
						return err
					}
					all[i*len(a.blocks)+k] = c
				}
			}
			return nil
		})
	}
	return all, work.Wait()
}

// keep is where the family's part of a block is kept.
func (a *answer) keep(family, block int) *atomic.Pointer[chunk] {
	return &a.blocks[block].kept[viewOf(a.f, a.enc)*len(a.e.layout.families)+family]
}

// block is the family's part of a block: as it is kept, or written now, and kept if it has all of the block's monitors.
func (a *answer) block(p *pen, family, k int) (*chunk, error) {
	b, chosen := a.blocks[k], a.chosen[k]
	whole := chosen == b.whole()
	if whole {
		switch c := a.keep(family, k).Load(); {
		case c != nil && c.holes == nil:
			return c, nil
		case c != nil:
			return a.filled(p, c.fixed, c.holes, c.series)
		}
	}
	f, series := &a.e.layout.families[family], 0
	p.raw, p.holes = p.raw[:0], p.holes[:0]
	for left := chosen; left != 0; left &= left - 1 {
		var n int
		e := b.entries[bits.TrailingZeros64(left)]
		if a.f == proto {
			p.raw, n = f.appendProto(p.raw, e, &p.holes)
		} else {
			p.raw, n = f.appendText(p.raw, e, &p.holes)
		}
		series += n
	}
	room := whole && a.e.fleets.bytes.Load() < a.e.maxCached
	if len(p.holes) > 0 {
		if room {
			a.hold(family, k, &chunk{fixed: bytes.Clone(p.raw), holes: slices.Clone(p.holes), series: series})
		}
		return a.filled(p, p.raw, p.holes, series)
	}
	c, err := a.pack(p.raw)
	if err != nil {
		return nil, err
	}
	c.series = series
	if room {
		a.hold(family, k, c)
	}
	return c, nil
}

func (a *answer) hold(family, k int, c *chunk) {
	a.keep(family, k).Store(c)
	a.e.fleets.bytes.Add(c.size())
}

// filled is what a block's part is worth now.
func (a *answer) filled(p *pen, fixed []byte, holes []hole, series int) (*chunk, error) {
	if a.f == proto {
		p.filled = appendFilledProto(p.filled[:0], fixed, holes, a.now)
	} else {
		p.filled = appendFilledText(p.filled[:0], fixed, holes, a.now)
	}
	c, err := a.pack(p.filled)
	if err == nil {
		c.series = series
	}
	return c, err
}

// pack packs what a pen has written.
func (a *answer) pack(raw []byte) (*chunk, error) {
	if a.enc == identity {
		raw = bytes.Clone(raw)
	}
	return a.e.packers.pack(a.enc, raw)
}

// family writes a family, its head only where it has a sample.
func (a *answer) family(i int, parts []*chunk) error {
	raw, n := 0, 0
	for _, c := range parts {
		if c != nil {
			raw += c.raw
			n += c.series
		}
	}
	if n == 0 {
		return nil
	}
	a.series += n
	head, err := a.head(i, raw)
	if err != nil {
		return err
	}
	a.body.chunk(head)
	for _, c := range parts {
		if c != nil {
			a.body.chunk(c)
		}
	}
	return nil
}

// head is what stands above the family's samples, which take raw bytes.
func (a *answer) head(family, raw int) (*chunk, error) {
	h := a.e.layout.families[family].heads[a.f]
	if a.f == proto { // where a family is one message, with its length before it
		h = append(binary.AppendUvarint(nil, uint64(len(h)+raw)), h...)
	}
	return a.e.packers.pack(a.enc, h)
}

// drop counts the series that the limit leaves out of a family.
func (a *answer) drop(family int) {
	for k, b := range a.blocks {
		for left := a.cut[k]; left != 0; left &= left - 1 {
			a.dropped += a.e.layout.families[family].count(b.entries[bits.TrailingZeros64(left)])
		}
	}
}

// own writes what the scrape says of itself, and what ends it.
func (a *answer) own(age time.Duration) error {
	var b []byte
	for _, g := range []struct {
		name, unit, help string
		value            float64
	}{
		{seriesName, "", "Series of monitors in this answer, a histogram's each counted.", float64(a.series)},
		{droppedName, "", "Series of monitors that belong into this answer and were left out, since the organisation has more than the limit. The monitors with the greatest ids are.", float64(a.dropped)},
		{ageName, "seconds", "How long ago the monitors' states in this answer were read.", max(0, age.Seconds())},
	} {
		h := heads(g.name, g.help, g.unit, metric.Gauge)[a.f]
		if a.f == proto {
			m := appendDouble([]byte{familyMetric, 11, metricGauge, 9}, number, g.value)
			b = binary.AppendUvarint(b, uint64(len(h)+len(m)))
			b = append(append(b, h...), m...)
			continue
		}
		b = append(append(append(b, h...), g.name...), ' ')
		b = append(appendValue(b, g.value), '\n')
	}
	if a.f == openMetrics {
		b = append(b, "# EOF\n"...)
	}
	c, err := a.e.packers.pack(a.enc, b)
	if err == nil {
		a.body.chunk(c)
	}
	return err
}

// heads is what stands above a family in each format.
func heads(name, help, unit string, t metric.Type) [formats][]byte {
	return [formats][]byte{text: textHead(name, help, t), openMetrics: openMetricsHead(name, help, unit, t), proto: protoHead(name, help, unit, t)}
}

// pen is what writing needs beside what is written.
type pen struct {
	raw, filled []byte
	holes       []hole
}

// pens are those not in use.
type pens struct{ pool sync.Pool }

func (p *pens) get() *pen {
	if it, ok := p.pool.Get().(*pen); ok {
		return it
	}
	return &pen{}
}

func (p *pens) put(it *pen) { p.pool.Put(it) }
