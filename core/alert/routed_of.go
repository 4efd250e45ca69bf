package alert

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// ErrIncomplete says that a message lacks what an alert is made of.
var ErrIncomplete = errors.New("the message names no incident, kind or time")

// incidentPath is where the REST API shows an incident; its id follows.
const incidentPath = "/api/v1/incidents/"

// RoutedOf is the alert that a message about an incident makes or, where the incident is resolved, ends. project is the name of
// the monitor's project and may be empty; baseURL is where people reach this installation, without a slash at its end.
func RoutedOf(org tenant.OrgID, m Message, project, baseURL string) (Routed, error) {
	i := m.Data.Incident
	if i.ID == uuid.Nil || i.Kind == "" || i.OpenedAt.IsZero() {
		return Routed{}, ErrIncomplete
	}
	r := Routed{
		Org: org, Source: FromIncident, Labels: incidentLabels(m, project), Annotations: incidentAnnotations(m),
		GeneratorURL: baseURL + incidentPath + i.ID.String(), StartsAt: i.OpenedAt.UTC(), Incident: i.ID, Monitor: i.MonitorID,
	}
	r.Fingerprint = Fingerprint(r.Labels)
	if i.AcknowledgedAt != nil {
		r.AcknowledgedAt = i.AcknowledgedAt.UTC()
	}
	if m.Type == TypeResolved {
		r.EndsAt = m.Timestamp.UTC()
		if i.ResolvedAt != nil {
			r.EndsAt = i.ResolvedAt.UTC()
		}
		if r.EndsAt.IsZero() {
			return Routed{}, ErrIncomplete
		}
	}
	return r, nil
}

// OfRule is what a rule said of one of its alerts.
type OfRule struct {
	ID                  uuid.UUID // of the alert of these labels, the same each time it fires
	Labels, Annotations map[string]string
	StartsAt            time.Time
	EndsAt              *time.Time // nil: it fires
	GeneratorURL        string
}

// RoutedOfRule is the alert that a rule fires or, where it has an end, resolves.
func RoutedOfRule(org tenant.OrgID, o OfRule) (Routed, error) {
	r := Routed{
		Org: org, Source: FromRule, Labels: withoutEmpty(o.Labels), Annotations: withoutEmpty(o.Annotations),
		GeneratorURL: o.GeneratorURL, StartsAt: o.StartsAt.UTC(), Incident: o.ID,
	}
	if o.ID == uuid.Nil || len(r.Labels) == 0 || o.StartsAt.IsZero() {
		return Routed{}, ErrIncomplete
	}
	r.Fingerprint = Fingerprint(r.Labels)
	if o.EndsAt != nil {
		r.EndsAt = o.EndsAt.UTC()
	}
	return r, nil
}

// Fingerprint is the hash of labels by which Alertmanager names an alert: 16 hexadecimal digits.
func Fingerprint(labels map[string]string) string {
	set := make(model.LabelSet, len(labels))
	for name, value := range labels {
		set[model.LabelName(name)] = model.LabelValue(value)
	}
	return set.Fingerprint().String()
}

// Name is the label alertname of the alerts of a kind of incident.
func Name(k incident.Kind) string {
	switch k {
	case incident.Missed:
		return "MonitorMissed"
	case incident.Fail:
		return "MonitorFailed"
	case incident.Overrun:
		return "MonitorOverrun"
	case incident.Late:
		return "MonitorLate"
	case incident.Anomaly:
		return "MonitorAnomaly"
	}
	return "Monitor" + strings.ToUpper(string(k[:1])) + string(k[1:])
}

func incidentLabels(m Message, project string) map[string]string {
	out := map[string]string{
		LabelName: Name(m.Data.Incident.Kind), LabelMonitor: m.Data.Monitor.Name, LabelID: m.Data.Monitor.ID.String(),
		LabelProject: project, LabelSeverity: m.Data.Incident.Severity, LabelTags: tagsLabel(m.Data.Monitor.Tags),
	}
	reserved := maps.Clone(out)
	own := m.Data.Monitor.Labels
	for _, name := range slices.Sorted(maps.Keys(own)) {
		as := name
		for as == "" || clashes(as, name, reserved, own) {
			as = "label_" + as
		}
		out[as] = own[name]
	}
	return withoutEmpty(out)
}

// clashes reports whether a monitor's label cannot go by a name: it is one of ours, or that of another of its labels.
func clashes(as, name string, reserved, own map[string]string) bool {
	_, ours := reserved[as]
	_, another := own[as]
	return ours || another && as != name
}

// tagsLabel is all tags in one value, with commas around each, so that a matcher can name one.
func tagsLabel(tags []string) string {
	if len(tags) == 0 {
		return ""
	}
	return "," + strings.Join(slices.Sorted(slices.Values(tags)), ",") + ","
}

// withoutEmpty leaves out labels without a value, which to Prometheus and Alertmanager are none.
func withoutEmpty(in map[string]string) map[string]string {
	out := make(map[string]string, len(in))
	for name, value := range in {
		if value != "" {
			out[name] = value
		}
	}
	return out
}
