package rule

import (
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// The types of a message.
const (
	TypeFiring   = "alert.firing"
	TypeResolved = "alert.resolved"
)

// Message is what is said about an alert: the body of a webhook. Its JSON is a contract with receivers.
type Message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"` // when the alert fired or was resolved
	Data      Data      `json:"data"`
}

// Data is what a message is about.
type Data struct {
	Alert AlertView `json:"alert"`
}

// AlertView is an alert as Alertmanager's webhooks show it.
type AlertView struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       *time.Time        `json:"endsAt"` // nil: it fires
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"` // of the labels, as Alertmanager has it
}

// MessageOf is what must be said of a change. ok is false where that is nothing: nobody is told of a pending alert.
func MessageOf(c Change, at time.Time, generatorURL string) (m Message, ok bool) {
	v := AlertView{
		Labels: mapOf(c.Alert.Labels), Annotations: mapOf(c.Alert.Annotations), StartsAt: c.FiredAt.UTC(),
		GeneratorURL: generatorURL, Fingerprint: Fingerprint(c.Alert.Labels),
	}
	m = Message{Timestamp: at.UTC(), Data: Data{Alert: v}}
	switch {
	case c.To == Firing:
		m.Type = TypeFiring
	case c.From == Firing:
		m.Type = TypeResolved
		ends := at.UTC()
		m.Data.Alert.EndsAt = &ends
	default:
		return Message{}, false
	}
	return m, true
}

// ID tells the alert of these labels from all others of the installation. What is said of one alert is said in order.
func ID(org tenant.OrgID, labels []series.Label) uuid.UUID {
	return uuid.NewSHA1(org.UUID, []byte("alert\xff"+Key(labels)))
}

// Fingerprint is the hash of labels by which Alertmanager names an alert: 16 hexadecimal digits.
func Fingerprint(labels []series.Label) string {
	set := make(model.LabelSet, len(labels))
	for _, l := range labels {
		set[model.LabelName(l.Name)] = model.LabelValue(l.Value)
	}
	return set.Fingerprint().String()
}

func mapOf(labels []series.Label) map[string]string {
	out := make(map[string]string, len(labels))
	for _, l := range labels {
		out[l.Name] = l.Value
	}
	return out
}
