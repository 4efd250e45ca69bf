package evaluator

import (
	"container/heap"
	"time"

	"github.com/google/uuid"
)

// timers finds the monitors whose next instant has come, at a cost per due instant and not per monitor. An entry stands in
// it at an instant that is not later than its timer; when that comes, it is looked at and, if its timer has moved on
// meanwhile (as with every ping), put back. So a ping mostly leaves the heap alone.
type timers struct {
	heap timerHeap
}

type timer struct {
	at time.Time
	e  *entry
}

// set makes e come up at t or before; zero: it need not.
func (t *timers) set(e *entry, at time.Time) {
	if at.IsZero() {
		return
	}
	if e.queued.IsZero() || at.Before(e.queued) {
		e.queued = at
		heap.Push(&t.heap, timer{at: at, e: e})
	}
}

// tidyAbove is how many entries the heap may have beside two a monitor before it is made anew: an entry that was overtaken by an
// earlier one stays in it until its time comes, which may be years.
const tidyAbove = 1000

// tidy drops what was overtaken, once it is the larger part.
func (t *timers) tidy(monitors map[uuid.UUID]*entry) {
	if len(t.heap) <= 2*len(monitors)+tidyAbove {
		return
	}
	t.heap = t.heap[:0]
	for _, e := range monitors {
		e.queued = time.Time{}
		if at := e.state.Timer(); !at.IsZero() {
			e.queued = at
			t.heap = append(t.heap, timer{at: at, e: e})
		}
	}
	heap.Init(&t.heap)
}

// due takes out an entry whose timer has come by now; nil: none has.
func (t *timers) due(now time.Time) *entry {
	for len(t.heap) > 0 && !t.heap[0].at.After(now) {
		top := heap.Pop(&t.heap).(timer)
		e := top.e
		if !e.queued.Equal(top.at) {
			continue // it stands elsewhere, earlier
		}
		e.queued = time.Time{}
		at := e.state.Timer()
		if at.IsZero() || e.gone {
			continue
		}
		if !at.After(now) {
			return e
		}
		t.set(e, at)
	}
	return nil
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].less(h[j]) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return last
}

// less orders equal instants by the monitor's id, so that a replay comes to the same order.
func (a timer) less(b timer) bool {
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return string(a.e.Monitor[:]) < string(b.e.Monitor[:])
}
