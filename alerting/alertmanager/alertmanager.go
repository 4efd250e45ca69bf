// Package alertmanager sends alerts on to another Alertmanager, as a Prometheus would: all of a group that fire, again and again while they
// do, each with an end that lies ahead, and the resolved ones with the end they had. If we fall silent, they end there by themselves.
package alertmanager

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/outgoing"
)

// Name of the kind.
const Name = "alertmanager"

// batch is how many alerts a request has at most.
const batch = 500

// entry is what can be said of an Alertmanager.
type entry struct {
	SendResolved *bool             `yaml:"send_resolved"`
	URL          string            `yaml:"url"`
	Username     string            `yaml:"username"`
	Password     string            `yaml:"password"`
	BearerToken  string            `yaml:"bearer_token"`
	Resend       model.Duration    `yaml:"resend_interval"`
	Labels       map[string]string `yaml:"labels"`
}

// Kind describes alertmanager_configs.
func Kind() config.Kind {
	return config.Kind{
		Name: Name, Key: "alertmanager_configs", Secrets: []string{"password", "bearer_token"},
		Check: func(n *yaml.Node, allowPrivate bool) error {
			_, err := read(n, allowPrivate)
			return err
		},
	}
}

// read decodes and checks an entry.
func read(n *yaml.Node, allowPrivate bool) (entry, error) {
	var e entry
	if err := outgoing.Decode(n, &e); err != nil {
		return e, err
	}
	if err := outgoing.CheckURL("url", e.URL, allowPrivate); err != nil {
		return e, err
	}
	if e.BearerToken != "" && (e.Username != "" || e.Password != "") {
		return e, errors.New("bearer_token: give either it, or username and password")
	}
	if e.Resend == 0 {
		e.Resend = model.Duration(time.Minute)
	}
	if at := time.Duration(e.Resend); at < 10*time.Second || at > time.Hour {
		return e, errors.New("resend_interval: must be from 10s to 1h")
	}
	for name := range e.Labels {
		if !model.UTF8Validation.IsValidLabelName(name) {
			return e, fmt.Errorf("labels: %q cannot be the name of a label", name)
		}
	}
	return e, nil
}

// Notifier sends to one Alertmanager. Safe for concurrent use.
type Notifier struct {
	url    string
	header http.Header
	labels model.LabelSet
	client *http.Client
	every  time.Duration
	ahead  time.Duration // how far ahead the end of a firing alert lies

	mu   sync.Mutex
	sent map[string]time.Time // by group: when what fires was last taken
}

// New makes the notifier of an entry. The client decides which addresses may be reached and must not follow redirects. groupInterval is
// how long may pass between two flushes of a group: alerts end only after four of them, and four of resend_interval, 5 min at least.
func New(e config.Entry, client *http.Client, groupInterval time.Duration) (*Notifier, error) {
	c, err := read(e.Node, true) // the client decides
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("url: cannot be read")
	}
	n := &Notifier{
		url: strings.TrimSuffix(u.String(), "/") + "/api/v2/alerts", header: http.Header{"Content-Type": {"application/json"}},
		labels: model.LabelSet{}, client: client, every: time.Duration(c.Resend), sent: map[string]time.Time{},
	}
	n.ahead = max(4*n.every, 4*groupInterval, 5*time.Minute)
	for name, value := range c.Labels {
		n.labels[model.LabelName(name)] = model.LabelValue(value)
	}
	switch {
	case c.BearerToken != "":
		n.header.Set("Authorization", "Bearer "+c.BearerToken)
	case c.Username != "" || c.Password != "":
		n.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password)))
	}
	return n, nil
}

// Notify sends all the alerts. Its error holds neither URL nor secrets.
func (n *Notifier) Notify(ctx context.Context, alerts ...*amalert.Alert) (retry bool, err error) {
	now := time.Now()
	for start := 0; start < len(alerts); start += batch {
		body, err := json.Marshal(n.payload(now, alerts[start:min(start+batch, len(alerts))]))
		if err != nil {
			return false, err
		}
		if _, retry, err := outgoing.Post(ctx, n.client, n.url, n.header, body); err != nil {
			return retry, err
		}
	}
	n.note(ctx, now)
	return false, nil
}

// Resend sends what fires again, unless that was done less than resend_interval ago.
func (n *Notifier) Resend(ctx context.Context, alerts ...*amalert.Alert) (sent bool, err error) {
	group, _ := notify.GroupKey(ctx)
	n.mu.Lock()
	last := n.sent[group]
	n.mu.Unlock()
	// A flush comes a little early or late: one of them more is better than one too few.
	if time.Since(last) < n.every-n.every/10 {
		return false, nil
	}
	_, err = n.Notify(ctx, alerts...)
	return true, err
}

// note remembers that the group was taken, and forgets those that were not for long.
func (n *Notifier) note(ctx context.Context, at time.Time) {
	group, _ := notify.GroupKey(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent[group] = at
	for key, last := range n.sent {
		if at.Sub(last) > 2*n.ahead {
			delete(n.sent, key)
		}
	}
}

// posted is an alert as Alertmanager's API v2 takes it.
type posted struct {
	Labels       model.LabelSet `json:"labels"`
	Annotations  model.LabelSet `json:"annotations"`
	StartsAt     time.Time      `json:"startsAt"`
	EndsAt       time.Time      `json:"endsAt"`
	GeneratorURL string         `json:"generatorURL,omitempty"`
}

func (n *Notifier) payload(now time.Time, alerts []*amalert.Alert) []posted {
	out := make([]posted, len(alerts))
	for i, a := range alerts {
		out[i] = posted{Labels: n.labels.Merge(a.Labels), Annotations: a.Annotations, StartsAt: a.StartsAt, EndsAt: now.Add(n.ahead)}
		if a.ResolvedAt(now) {
			out[i].EndsAt = a.EndsAt
		}
		if out[i].Annotations == nil {
			out[i].Annotations = model.LabelSet{}
		}
		if u, err := url.ParseRequestURI(a.GeneratorURL); err == nil && u.Scheme != "" { // the API refuses what is no URI
			out[i].GeneratorURL = a.GeneratorURL
		}
	}
	return out
}
