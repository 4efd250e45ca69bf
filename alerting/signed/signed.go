// Package signed posts a group of alerts as JSON, signed as Standard Webhooks says (www.standardwebhooks.com): Alertmanager's own webhook
// payload, version 4, with extras of ours under `tokiflow`. docs/receivers.md describes it, and how to verify it.
package signed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/core/alert"
)

// Name of the kind.
const Name = "signed_webhook"

// entry is what can be said of a signed webhook.
type entry struct {
	SendResolved *bool  `yaml:"send_resolved"`
	URL          string `yaml:"url"`
	Secret       string `yaml:"secret"`
	MaxAlerts    int    `yaml:"max_alerts"`
}

// Kind describes signed_webhook_configs.
func Kind() config.Kind {
	return config.Kind{
		Name: Name, Key: "signed_webhook_configs", Secrets: []string{"url", "secret"},
		Check: func(n *yaml.Node, allowPrivate bool) error {
			_, _, err := read(n, allowPrivate)
			return err
		},
	}
}

// read decodes and checks an entry.
func read(n *yaml.Node, allowPrivate bool) (entry, *standardwebhooks.Webhook, error) {
	var e entry
	if err := outgoing.Decode(n, &e); err != nil {
		return e, nil, err
	}
	if err := outgoing.CheckURL("url", e.URL, allowPrivate); err != nil {
		return e, nil, err
	}
	if e.MaxAlerts < 0 {
		return e, nil, errors.New("max_alerts: must not be negative; 0 sends all")
	}
	encoded, ok := strings.CutPrefix(e.Secret, "whsec_")
	signer, err := standardwebhooks.NewWebhook(e.Secret)
	if !ok || err != nil || len(encoded) < 32 { // 24 bytes: what Standard Webhooks asks for at least
		return e, nil, errors.New(`secret: must be whsec_ and 24 to 64 random bytes in Base64: make one with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	return e, signer, nil
}

// Message is what is posted: Alertmanager's webhook payload with ours added. Its JSON is a contract with receivers.
type Message struct {
	Version            string       `json:"version"` // "4", as Alertmanager's
	GroupKey           string       `json:"groupKey"`
	TruncatedAlerts    int          `json:"truncatedAlerts"` // left out because of max_alerts
	Status             string       `json:"status"`          // firing while one alert does, else resolved
	Receiver           string       `json:"receiver"`
	NotificationReason string       `json:"notification_reason"`
	GroupLabels        template.KV  `json:"groupLabels"`
	CommonLabels       template.KV  `json:"commonLabels"`
	CommonAnnotations  template.KV  `json:"commonAnnotations"`
	RouteLabels        template.KV  `json:"routeLabels"`
	ExternalURL        string       `json:"externalURL"`
	Alerts             []Alert      `json:"alerts"`
	Tokiflow           MessageExtra `json:"tokiflow"`
}

// MessageExtra is what Alertmanager's payload does not have.
type MessageExtra struct {
	ID             string `json:"id"` // the same in every attempt, and in the header webhook-id
	OrganisationID string `json:"organisation_id"`
}

// Alert is an alert of a Message.
type Alert struct {
	template.Alert
	Tokiflow AlertExtra `json:"tokiflow"`
}

// AlertExtra is what is known of the incident behind an alert; empty where there is none.
type AlertExtra struct {
	IncidentID     string          `json:"incident_id"`
	MonitorID      string          `json:"monitor_id"`
	Kind           string          `json:"kind"`     // missed, late, fail, overrun, anomaly
	Evidence       json.RawMessage `json:"evidence"` // an object, or null
	AcknowledgedBy string          `json:"acknowledged_by"`
}

// Notifier posts to one URL. Safe for concurrent use.
type Notifier struct {
	url    string
	most   int
	signer *standardwebhooks.Webhook
	tmpl   *template.Template
	client *http.Client
	org    string
	quiet  *slog.Logger
}

// New makes the notifier of an entry of an organisation's. The client decides which addresses may be reached and must not follow redirects.
func New(e config.Entry, t *template.Template, client *http.Client, org string) (*Notifier, error) {
	c, signer, err := read(e.Node, true) // the client decides
	if err != nil {
		return nil, err
	}
	return &Notifier{
		url: c.URL, most: c.MaxAlerts, signer: signer, tmpl: t, client: client, org: org, quiet: slog.New(slog.DiscardHandler),
	}, nil
}

// Notify posts once. Its error holds neither URL nor secret.
func (n *Notifier) Notify(ctx context.Context, alerts ...*amalert.Alert) (retry bool, err error) {
	id := "msg_" + outgoing.MessageID(ctx).String()
	body, err := json.Marshal(n.message(ctx, id, alerts))
	if err != nil {
		return false, fmt.Errorf("the message cannot be written: %w", err)
	}
	now := time.Now() // of the attempt: receivers refuse old ones
	signature, err := n.signer.Sign(id, now, body)
	if err != nil {
		return false, fmt.Errorf("the message cannot be signed: %w", err)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	_, retry, err = outgoing.Post(ctx, n.client, n.url, header, body)
	return retry, err
}

func (n *Notifier) message(ctx context.Context, id string, alerts []*amalert.Alert) Message {
	left := 0
	if n.most > 0 && len(alerts) > n.most {
		left = len(alerts) - n.most
		alerts = alerts[:n.most]
	}
	d := notify.GetTemplateData(ctx, n.tmpl, alerts, n.quiet)
	group, _ := notify.GroupKey(ctx)
	m := Message{
		Version: "4", GroupKey: group, TruncatedAlerts: left, Status: d.Status, Receiver: d.Receiver, NotificationReason: d.NotificationReason,
		GroupLabels: d.GroupLabels, CommonLabels: d.CommonLabels, CommonAnnotations: d.CommonAnnotations, RouteLabels: d.RouteLabels,
		ExternalURL: d.ExternalURL, Alerts: make([]Alert, len(d.Alerts)), Tokiflow: MessageExtra{ID: id, OrganisationID: n.org},
	}
	for i, a := range d.Alerts {
		m.Alerts[i] = Alert{Alert: a, Tokiflow: AlertExtra{
			IncidentID: a.Annotations[alert.AnnotationIncident], Kind: a.Annotations[alert.AnnotationKind],
			AcknowledgedBy: a.Annotations[alert.AnnotationAckBy],
		}}
		if m.Alerts[i].Tokiflow.IncidentID == "" {
			continue
		}
		m.Alerts[i].Tokiflow.MonitorID = a.Labels[alert.LabelID]
		if evidence := a.Annotations[alert.AnnotationEvidence]; strings.HasPrefix(evidence, "{") && json.Valid([]byte(evidence)) {
			m.Alerts[i].Tokiflow.Evidence = json.RawMessage(evidence)
		}
	}
	return m
}
