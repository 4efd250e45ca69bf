package slack

import (
	"cmp"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
)

// view is an alert as a message shows it, wherever it came from.
type view struct {
	fingerprint string
	identity    string // the incident's id, or when it began: tells two alerts of the same labels apart
	name        string // alertname
	monitor     string // the monitor's name; "": it is not of a monitor
	monitorID   uuid.UUID
	kind        incident.Kind // "": it is not of a monitor
	severity    string
	summary     string
	description string
	evidence    incident.Evidence
	labels      map[string]string
	url         string // http or https; "": none
	starts      time.Time
	ends        time.Time // when it was resolved; zero: it fires
	ackBy       string
	ackAt       time.Time
	note        string // what somebody has just done about it, in Slack's markup; "": nothing
}

func (v view) resolved() bool { return !v.ends.IsZero() }

// viewOf reads an alert of a flush. Whether it is resolved is asked as Alertmanager's stages ask: by this moment, not by that for which
// the flush was due.
func viewOf(a *amalert.Alert) view {
	labels, annotations := make(map[string]string, len(a.Labels)), make(map[string]string, len(a.Annotations))
	for k, value := range a.Labels {
		labels[string(k)] = string(value)
	}
	for k, value := range a.Annotations {
		annotations[string(k)] = string(value)
	}
	v := newView(labels, annotations, a.GeneratorURL, a.StartsAt)
	v.fingerprint = a.Fingerprint().String()
	if a.Resolved() {
		v.ends = a.EndsAt
	}
	return v
}

// viewOfRouted reads an alert of the table.
func viewOfRouted(r alert.Routed, now time.Time) view {
	v := newView(r.Labels, r.Annotations, r.GeneratorURL, r.StartsAt)
	v.fingerprint = r.Fingerprint
	if r.Resolved(now) {
		v.ends = r.EndsAt
	}
	if !r.AcknowledgedAt.IsZero() {
		v.ackBy, v.ackAt = r.AcknowledgedBy, r.AcknowledgedAt
	}
	return v
}

func newView(labels, annotations map[string]string, generator string, starts time.Time) view {
	v := view{
		identity: annotations[alert.AnnotationIncident], name: labels[alert.LabelName], severity: labels[alert.LabelSeverity],
		summary: annotations[alert.AnnotationSummary], description: annotations[alert.AnnotationDescription],
		labels: labels, url: webURL(generator), starts: starts, ackBy: annotations[alert.AnnotationAckBy],
	}
	if v.identity == "" {
		v.identity = strconv.FormatInt(starts.UnixMilli(), 10)
	}
	if k := incident.Kind(annotations[alert.AnnotationKind]); known(k) {
		v.kind, v.monitor = k, labels[alert.LabelMonitor]
		v.monitorID, _ = uuid.Parse(labels[alert.LabelID]) // without one there are no runs to show
		_ = json.Unmarshal([]byte(annotations[alert.AnnotationEvidence]), &v.evidence)
	}
	v.ackAt, _ = time.Parse(time.RFC3339, annotations[alert.AnnotationAckAt])
	return v
}

func known(k incident.Kind) bool {
	switch k {
	case incident.Missed, incident.Late, incident.Fail, incident.Overrun, incident.Anomaly:
		return true
	}
	return false
}

// maxURL is the longest that Slack takes for a button.
const maxURL = 3000

// webURL is the address if a browser can open it, else "".
func webURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(u.String()) > maxURL {
		return ""
	}
	return u.String()
}

// subject is what the alert is about, in a few words.
func (v view) subject() string {
	if v.monitor != "" {
		return v.monitor
	}
	return cmp.Or(v.name, "alert")
}

// wrong is what is wrong with it, in a word or two.
func (v view) wrong() string {
	switch v.kind {
	case incident.Missed:
		return "Missed"
	case incident.Late:
		return "Late"
	case incident.Fail:
		return "Failed"
	case incident.Overrun:
		return "Runs too long"
	case incident.Anomaly:
		return "Unusual duration"
	}
	return "Firing"
}

// title is one line that says what is wrong with what.
func (v view) title() string { return v.wrong() + ": " + v.subject() }

// plainLabels are the labels worth a line: those that the message does not show elsewhere, by name.
func (v view) plainLabels() []string {
	var out []string
	for k, value := range v.labels {
		switch k {
		case alert.LabelName, alert.LabelMonitor, alert.LabelID, alert.LabelProject, alert.LabelSeverity, alert.LabelTags:
			continue
		}
		out = append(out, k+"="+value)
	}
	slices.Sort(out)
	return out
}

// tags are those of the monitor.
func (v view) tags() []string {
	return slices.DeleteFunc(strings.Split(v.labels[alert.LabelTags], ","), func(s string) bool { return s == "" })
}
