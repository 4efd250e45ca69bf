package promapi

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/series"
)

// entry is one series that every monitor has, or one native histogram.
type entry struct {
	family string // of core/metric, as Timelines knows it
	name   string // the label __name__
	label  string // "": id is the only label
	value  string
	line   func(p *metric.Point) (metric.Line, bool) // nil: native
	native bool
}

// catalog is what core/metric exposes of a monitor, in the order of labels: by name, then by the value of the one label.
type catalog []entry

func newCatalog() catalog {
	var c catalog
	for _, f := range metric.Families() {
		for _, s := range f.Series {
			c = append(c, entry{family: f.Name, name: f.Name + s.Suffix, label: s.Label, value: s.Value, line: s.Line})
		}
		if f.Type == metric.Histogram {
			c = append(c, entry{family: f.Name, name: f.Name, native: true})
		}
	}
	slices.SortStableFunc(c, func(a, b entry) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	return c
}

// selection is what some matchers can match of the computed series.
type selection struct {
	entries  []entry
	info     bool // tokiflow_monitor_info may match, by infos
	families []string
	ids      []uuid.UUID       // nil: all; else only these
	id       []*labels.Matcher // on the label id, not said by ids
	infos    []*labels.Matcher // every matcher on a label of the info series but id
}

// empty reports whether nothing can match.
func (s *selection) empty() bool { return len(s.families) == 0 || (s.ids != nil && len(s.ids) == 0) }

// everyMonitor reports whether no matcher tells one monitor from another.
func (s *selection) everyMonitor() bool { return s.ids == nil && len(s.id) == 0 }

// matchesID reports whether the matchers on id let the monitor pass.
func (s *selection) matchesID(id string) bool {
	for _, m := range s.id {
		if !m.Matches(id) {
			return false
		}
	}
	return true
}

// matchesInfo reports whether an info series with these labels is asked for.
func (s *selection) matchesInfo(ls labels.Labels) bool {
	for _, m := range s.infos {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// choose finds what the matchers can match. A label that a series does not have is an empty one, as everywhere in
// Prometheus.
func (c catalog) choose(matchers []*labels.Matcher) *selection {
	s := &selection{}
	s.info = matchesAll(matchers, series.NameLabel, metric.InfoName)
	for i := range c {
		e := &c[i]
		if !e.matches(matchers) {
			continue
		}
		s.entries = append(s.entries, *e)
		if !slices.Contains(s.families, e.family) {
			s.families = append(s.families, e.family)
		}
	}
	for _, m := range matchers {
		switch m.Name {
		case series.NameLabel:
		case metric.LabelID:
			s.narrow(m)
		default:
			s.infos = append(s.infos, m)
			s.info = s.info && (!c.labelled(m.Name) || m.Matches(""))
		}
	}
	if s.info {
		s.families = append(s.families, metric.InfoName)
	}
	return s
}

// labelled reports whether some series other than the info has the label, beside id. No info has it then.
func (c catalog) labelled(name string) bool {
	return name != "" && slices.ContainsFunc(c, func(e entry) bool { return e.label == name })
}

// matches says whether the matchers other than those on id let the entry pass.
func (e *entry) matches(matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		var v string
		switch m.Name {
		case series.NameLabel:
			v = e.name
		case metric.LabelID:
			continue
		case e.label:
			v = e.value
		}
		if !m.Matches(v) {
			return false
		}
	}
	return true
}

func matchesAll(matchers []*labels.Matcher, name, value string) bool {
	for _, m := range matchers {
		if m.Name == name && !m.Matches(value) {
			return false
		}
	}
	return true
}

// narrow takes in a matcher on id: as a list of monitors where it names them, else to be asked of each.
func (s *selection) narrow(m *labels.Matcher) {
	var named []string
	switch {
	case m.Type == labels.MatchEqual:
		named = []string{m.Value}
	case m.Type == labels.MatchRegexp && len(m.SetMatches()) > 0:
		named = m.SetMatches()
	default:
		s.id = append(s.id, m)
		return
	}
	ids := make([]uuid.UUID, 0, len(named))
	for _, n := range named {
		// Only the one spelling that the label has.
		if id, err := uuid.Parse(n); err == nil && id.String() == n && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if s.ids != nil {
		ids = slices.DeleteFunc(ids, func(id uuid.UUID) bool { return !slices.Contains(s.ids, id) })
	}
	s.ids = ids
}
