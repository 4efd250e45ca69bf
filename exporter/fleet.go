package exporter

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/series"
)

// blockSize is how many monitors are written and kept together: as many as a mask has bits.
const blockSize = 64

// entry is a monitor: what writing and choosing it needs. It never changes.
type entry struct {
	id     uuid.UUID
	text   [36]byte // the id as it is written
	pair   [44]byte // the label id, as a field of a protobuf Metric
	labels []series.Label
	point  metric.Point
	series int // how many it has in all families

	project, name string
	tags          []string
	own           map[string]string // its own labels
}

// block is up to 64 monitors of one project. Its entries never change.
type block struct {
	project string
	entries []*entry
	series  int
	// kept is what was written of the block, by view and family; nil where it must be written (anew).
	kept []atomic.Pointer[chunk]
}

// fleet is the monitors of an organisation at a moment. It never changes, but for what its blocks keep.
type fleet struct {
	blocks []*block
	// last is the last monitor within the limit of series, where the limit leaves some out.
	last *uuid.UUID
}

// place is where a monitor stands in a fleet.
type place struct{ block, slot int }

// fleetBuilder makes one fleet after the other. It is for one goroutine at a time.
type fleetBuilder struct {
	layout    *layout
	maxSeries int
	blocks    []*block
	places    map[uuid.UUID]place
	room      map[string]int // project → the block that takes its next monitor
	fresh     map[int]bool   // blocks that are no part of an earlier fleet
}

// apply takes in what was read and returns the fleet as it is now, or nil where nothing in it changed.
func (f *fleetBuilder) apply(st *inventory.States, now time.Time) *fleet {
	f.fresh = map[int]bool{}
	if st.Full {
		entries := make([]*entry, 0, len(st.Monitors))
		for i := range st.Monitors {
			entries = append(entries, f.layout.entry(&st.Monitors[i], now))
		}
		f.build(entries)
		return f.fleet()
	}
	if len(st.Monitors) == 0 && len(st.Deleted) == 0 {
		return nil
	}
	f.blocks = slices.Clone(f.blocks)
	for _, id := range st.Deleted {
		f.remove(id)
	}
	for i := range st.Monitors {
		f.put(f.layout.entry(&st.Monitors[i], now))
	}
	if f.sparse() {
		f.build(f.entries())
	}
	return f.fleet()
}

// build lays out all blocks anew: by project, and by id in it.
func (f *fleetBuilder) build(entries []*entry) {
	slices.SortFunc(entries, func(a, b *entry) int {
		return cmp.Or(strings.Compare(a.project, b.project), bytes.Compare(a.id[:], b.id[:]))
	})
	f.blocks, f.places, f.room = nil, make(map[uuid.UUID]place, len(entries)), map[string]int{}
	f.fresh = map[int]bool{}
	for _, e := range entries {
		f.add(e)
	}
}

func (f *fleetBuilder) entries() []*entry {
	all := make([]*entry, 0, len(f.places))
	for _, b := range f.blocks {
		all = append(all, b.entries...)
	}
	return all
}

// sparse reports whether deletions left so many gaps that the blocks should be laid out anew.
func (f *fleetBuilder) sparse() bool {
	monitors, needed := map[string]int{}, 0
	for _, b := range f.blocks {
		before := monitors[b.project]
		monitors[b.project] += len(b.entries)
		needed += blocksOf(monitors[b.project]) - blocksOf(before)
	}
	return len(f.blocks) > 8+2*needed
}

func blocksOf(monitors int) int { return (monitors + blockSize - 1) / blockSize }

// own is a block that may be changed, as no fleet has it: a copy, where it must be.
func (f *fleetBuilder) own(i int) *block {
	if f.fresh[i] {
		return f.blocks[i]
	}
	old := f.blocks[i]
	b := &block{project: old.project, entries: slices.Clone(old.entries), kept: make([]atomic.Pointer[chunk], len(old.kept))}
	for k := range old.kept {
		b.kept[k].Store(old.kept[k].Load())
	}
	f.blocks[i], f.fresh[i] = b, true
	return b
}

func (f *fleetBuilder) put(e *entry) {
	at, known := f.places[e.id]
	if known && f.blocks[at.block].project != e.project {
		f.remove(e.id)
		known = false
	}
	if !known {
		f.add(e)
		return
	}
	b := f.own(at.block)
	old := b.entries[at.slot]
	for i := range f.layout.families {
		if f.layout.families[i].differ(old, e) {
			b.forget(i, len(f.layout.families))
		}
	}
	b.entries[at.slot] = e
}

func (f *fleetBuilder) add(e *entry) {
	i, ok := f.room[e.project]
	if !ok || len(f.blocks[i].entries) == blockSize {
		i = len(f.blocks)
		f.blocks = append(f.blocks, &block{project: e.project, kept: make([]atomic.Pointer[chunk], views*len(f.layout.families))})
		f.fresh[i], f.room[e.project] = true, i
	}
	b := f.own(i)
	f.places[e.id] = place{i, len(b.entries)}
	b.entries = append(b.entries, e)
	b.forgetAll()
}

func (f *fleetBuilder) remove(id uuid.UUID) {
	at, ok := f.places[id]
	if !ok {
		return
	}
	delete(f.places, id)
	b := f.own(at.block)
	b.entries = slices.Delete(b.entries, at.slot, at.slot+1)
	for slot := at.slot; slot < len(b.entries); slot++ {
		f.places[b.entries[slot].id] = place{at.block, slot}
	}
	b.forgetAll()
}

// forget drops what is kept of the block in a family.
func (b *block) forget(family, families int) {
	for v := range views {
		b.kept[v*families+family].Store(nil)
	}
}

func (b *block) forgetAll() {
	for i := range b.kept {
		b.kept[i].Store(nil)
	}
}

// fleet is what stands now, with the limit of series drawn.
func (f *fleetBuilder) fleet() *fleet {
	out, total := &fleet{blocks: slices.Clone(f.blocks)}, 0
	for i, b := range f.blocks {
		if f.fresh[i] {
			b.series = 0
			for _, e := range b.entries {
				b.series += e.series
			}
		}
		total += b.series
	}
	if f.maxSeries == 0 || total <= f.maxSeries {
		return out
	}
	all := f.entries()
	slices.SortFunc(all, func(a, b *entry) int { return bytes.Compare(a.id[:], b.id[:]) })
	out.last = &uuid.UUID{} // which no monitor is: not even the first has room
	for room := f.maxSeries; len(all) > 0 && all[0].series <= room; all = all[1:] {
		room -= all[0].series
		out.last = &all[0].id
	}
	return out
}

// entry makes an entry of a monitor, as it is known at now.
func (l *layout) entry(m *inventory.MonitorState, now time.Time) *entry {
	for _, t := range []time.Time{m.State.Since, m.State.LastPing.At} {
		if t.After(now) { // by the evaluator's clock
			now = t
		}
	}
	e := &entry{
		id: m.ID, point: metric.PointOf(&m.State, now, m.GapSeconds), project: m.Project, name: m.Config.Name, tags: m.Config.Tags, own: m.Config.Labels,
		labels: metric.Labels(m.ID, m.Project, &m.Config),
	}
	copy(e.text[:], m.ID.String())
	copy(e.pair[:], appendPair(nil, metric.LabelID, m.ID.String()))
	for i := range e.labels {
		e.labels[i].Value = clean(e.labels[i].Value)
	}
	e.labels = slices.DeleteFunc(e.labels, func(s series.Label) bool { return !validName(s.Name) })
	for i := range l.families {
		e.series += l.families[i].count(e)
	}
	return e
}

// validName reports whether every version of every format takes a label of that name.
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return s != ""
}

func equalLabels(a, b []series.Label) bool { return slices.Equal(a, b) }
