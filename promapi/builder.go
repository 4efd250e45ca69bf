package promapi

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// builder makes the selected series of one timeline after the other.
type builder struct {
	*selection
	window  window
	budget  *budget
	most    int // pieces in all; a query that would see each would see more samples than are allowed
	enough  int // series; 0: all are wanted
	pieces  int
	out     []storage.Series
	moments []moment // of the timeline at hand
	list    []piece  // of the series at hand, before it is known how many there are
	label   labels.ScratchBuilder
}

// series adds those series of a monitor that have a sample in the window.
func (b *builder) series(t *timeline.Timeline) error {
	id := t.ID.String()
	if !b.matchesID(id) {
		return nil
	}
	var gone int64
	b.moments, gone = moments(b.moments, b.window, t.Points, t.End)
	for i := range b.entries {
		s := computed{pieces: pieces{window: b.window, native: b.entries[i].native, list: b.list[:0]}}
		for _, m := range b.moments {
			s.show(m, &b.entries[i])
		}
		s.ended(gone)
		b.list = s.list
		if !s.seen() {
			continue
		}
		s.list = slices.Clone(s.list)
		s.labels = b.labelsOf(id, &b.entries[i])
		if err := b.add(&s); err != nil {
			return err
		}
	}
	if !b.info {
		return nil
	}
	for _, s := range b.infos(t, gone) {
		if err := b.add(s); err != nil {
			return err
		}
	}
	return nil
}

// show adds what the entry is worth from a moment on.
func (s *computed) show(m moment, e *entry) {
	switch {
	case !e.native:
		l, ok := e.line(m.point)
		s.addLine(m.from, l, ok)
	case m.point.Totals == nil:
		s.addHistogram(m.from, &monitor.Histogram{})
	default:
		s.addHistogram(m.from, &m.point.Totals.Durations)
	}
}

// infos are the info series of a monitor: one for each set of labels it had in the window.
func (b *builder) infos(t *timeline.Timeline, gone int64) []*computed {
	var out []*computed
	for _, x := range b.stays(t.Labels, gone) {
		at := slices.IndexFunc(out, func(s *computed) bool { return labels.Equal(s.labels, x.labels) })
		if at < 0 {
			at = len(out)
			out = append(out, &computed{labels: x.labels, pieces: pieces{window: b.window}})
		}
		out[at].addLine(x.from, metric.Line{Num: 1}, true)
		out[at].ended(x.until)
	}
	return slices.DeleteFunc(out, func(s *computed) bool { return !s.seen() || !b.matchesInfo(s.labels) })
}

// stay is a set of info labels from one instant of the grid until another, where something else is seen.
type stay struct {
	labels      labels.Labels
	from, until int64
}

// stays are what instants of the window show of the spans, in order. Spans of equal labels are one.
func (b *builder) stays(spans []timeline.Span, gone int64) []stay {
	var out []stay
	for i := range spans {
		from, until := b.instant(spans[i].From), gone
		if i+1 < len(spans) {
			until = min(gone, b.instant(spans[i+1].From))
		}
		if from >= until || from > b.window.last {
			continue
		}
		x := stay{labels: b.infoLabels(spans[i].Labels), from: from, until: until}
		if n := len(out); n > 0 && labels.Equal(out[n-1].labels, x.labels) {
			out[n-1].until = x.until
		} else {
			out = append(out, x)
		}
	}
	return out
}

// instant is the first of the grid that shows what began at t, none before that before the window.
func (b *builder) instant(t time.Time) int64 {
	return max(ceilTime(t, b.window.step), b.window.before())
}

// names adds those series of a monitor that had a sample at any time in the window, without their samples.
func (b *builder) names(t *timeline.Timeline) error {
	id := t.ID.String()
	first := timeOf(b.window.first)
	if !b.matchesID(id) || !t.End.IsZero() && !t.End.After(first) {
		return nil
	}
	points := t.Points
	for len(points) > 1 && !points[1].At.After(first) {
		points = points[1:]
	}
	for i := range b.entries {
		e := &b.entries[i]
		if !slices.ContainsFunc(points, func(p metric.Point) bool { return e.shows(&p) }) {
			continue
		}
		if err := b.add(&computed{labels: b.labelsOf(id, e), pieces: pieces{window: b.window}}); err != nil {
			return err
		}
	}
	if !b.info {
		return nil
	}
	var had []labels.Labels
	for i := range t.Labels {
		if i+1 < len(t.Labels) && !t.Labels[i+1].From.After(first) {
			continue
		}
		ls := b.infoLabels(t.Labels[i].Labels)
		if !b.matchesInfo(ls) || slices.ContainsFunc(had, func(l labels.Labels) bool { return labels.Equal(l, ls) }) {
			continue
		}
		had = append(had, ls)
		if err := b.add(&computed{labels: ls, pieces: pieces{window: b.window}}); err != nil {
			return err
		}
	}
	return nil
}

// shows reports whether the entry has a sample at the point.
func (e *entry) shows(p *metric.Point) bool {
	if e.native {
		return true
	}
	_, ok := e.line(p)
	return ok
}

func (b *builder) add(s *computed) error {
	if err := b.budget.take(1); err != nil {
		return err
	}
	if b.pieces += len(s.list); b.pieces > b.most {
		return &limitError{"the query would load more than " + strconv.Itoa(b.most) +
			" changes of value into memory: shorten the time range, or select fewer series"}
	}
	b.out = append(b.out, s)
	if b.enough > 0 && len(b.out) >= b.enough {
		return errEnough
	}
	return nil
}

// errEnough ends the reading: there are as many series as are wanted.
var errEnough = errors.New("enough series were found")

func (b *builder) labelsOf(id string, e *entry) labels.Labels {
	b.label.Reset()
	b.label.Add(series.NameLabel, e.name)
	b.label.Add(metric.LabelID, id)
	if e.label != "" {
		b.label.Add(e.label, e.value) // every such name is behind id in the alphabet
	}
	return b.label.Labels()
}

func (b *builder) infoLabels(list []series.Label) labels.Labels {
	b.label.Reset()
	b.label.Add(series.NameLabel, metric.InfoName)
	for _, l := range list {
		b.label.Add(l.Name, l.Value)
	}
	b.label.Sort()
	return b.label.Labels()
}

// sorted are the series in the order of their labels.
func (b *builder) sorted() []storage.Series {
	order := func(x, y storage.Series) int { return labels.Compare(x.Labels(), y.Labels()) }
	if !slices.IsSortedFunc(b.out, order) {
		slices.SortFunc(b.out, order)
	}
	return b.out
}
