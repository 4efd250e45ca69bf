package rule

import (
	"slices"

	"github.com/tokiflow/tokiflow/core/series"
)

// The names that alerts go by as series.
const (
	alertName    = "alertname"
	alertState   = "alertstate"
	alertsMetric = "ALERTS"
	forMetric    = "ALERTS_FOR_STATE"
)

// With returns labels with the ones given set, and sorted. One that is set to nothing is taken away.
func With(labels []series.Label, set ...series.Label) []series.Label {
	out := make([]series.Label, 0, len(labels)+len(set))
	for _, l := range labels {
		if !slices.ContainsFunc(set, func(s series.Label) bool { return s.Name == l.Name }) {
			out = append(out, l)
		}
	}
	for i, s := range set {
		last := !slices.ContainsFunc(set[i+1:], func(t series.Label) bool { return t.Name == s.Name })
		if last && s.Value != "" {
			out = append(out, s)
		}
	}
	series.Sort(out)
	return out
}

// Samples are the series ALERTS and ALERTS_FOR_STATE of one active alert of a rule with these labels, each with its sample of the
// instant at, in milliseconds since 1970. The rule's labels are put below those of the alert, as Prometheus does it: where a label's
// template gave nothing, the series carry the template.
func Samples(a Alert, name string, labels []series.Label, at int64) [2]series.Series {
	base := With(With(labels, a.Labels...), series.Label{Name: alertName, Value: name})
	return [2]series.Series{
		{
			Labels: With(base, series.Label{Name: series.NameLabel, Value: alertsMetric}, series.Label{Name: alertState, Value: string(a.State)}),
			Floats: []series.Float{{At: at, Value: 1}},
		},
		{
			Labels: With(base, series.Label{Name: series.NameLabel, Value: forMetric}),
			Floats: []series.Float{{At: at, Value: float64(a.ActiveAt.Unix())}},
		},
	}
}

// SeriesOf are the labels of all series that the rule gave when its progress was that: of an alerting rule those of its active
// alerts.
func (p Progress) SeriesOf() [][]series.Label {
	if p.Kind == Recording {
		return p.Series
	}
	var out [][]series.Label
	for _, a := range p.Alerts {
		if a.Active() {
			for _, s := range Samples(a, p.Name, p.Labels, 0) {
				out = append(out, s.Labels)
			}
		}
	}
	return out
}
