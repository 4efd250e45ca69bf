package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/template"
)

// maxSampleTime bounds the rendering of all texts of one configuration that is put.
const maxSampleTime = 15 * time.Second

// render renders every text once with alerts in all shapes, so that what is wrong with one shows now and not at night.
func (c *Config) render(all []found) (p Problems) {
	t, err := c.NewTemplate(&url.URL{Scheme: "https", Host: "alertmanager.example.com"})
	if err != nil {
		p.addLine(0, "%s", err)
		return p
	}
	type once struct {
		text           string
		html, resolved bool
	}
	done := map[once]bool{}
	began := c.now()
	samples := sampleData(began)
	for _, f := range all {
		key := once{f.safe, f.html, f.sendResolved}
		if done[key] {
			continue
		}
		done[key] = true
		for _, s := range samples {
			if s.data.Status == "resolved" && !f.sendResolved {
				continue
			}
			if err := rendered(t, f, s.data); err != nil {
				p.addLine(f.line, "%s: with %s: %s", f.field, s.name, strings.TrimPrefix(plainTemplateError(err).Error(), "template: "))
				break
			}
		}
		if c.now().Sub(began) > maxSampleTime {
			p.addLine(f.line, "the templates together take longer than %s: make them simpler", maxSampleTime)
		}
		if len(p) > maxProblems || c.now().Sub(began) > maxSampleTime {
			break
		}
	}
	return p
}

func rendered(t *template.Template, f found, data *template.Data) error {
	if f.html {
		_, err := t.ExecuteHTMLString(f.safe, data)
		return err
	}
	_, err := t.ExecuteTextString(f.safe, data)
	return err
}

// sample is a group of alerts.
type sample struct {
	name string
	data *template.Data
}

// sampleData are groups of alerts: of one incident, of several that fire and are resolved, of resolved ones alone, and of an alert with
// nothing but a name.
func sampleData(now time.Time) []sample {
	firing := sampleAlert("backup", "firing", now)
	second := sampleAlert("report", "firing", now)
	second.Labels["severity"] = "warning"
	over := sampleAlert("import", "resolved", now)
	bare := template.Alert{
		Status: "firing", Labels: template.KV{"alertname": "Posted"}, Annotations: template.KV{}, StartsAt: now.Add(-time.Minute), Fingerprint: "0123456789abcdef",
	}
	return []sample{
		{"one alert", groupOf("firing", firing)},
		{"alerts that fire and are resolved", groupOf("firing", firing, second, over)},
		{"resolved alerts", groupOf("resolved", over)},
		{"an alert without annotations", groupOf("firing", bare)},
	}
}

func sampleAlert(monitor, status string, now time.Time) template.Alert {
	a := template.Alert{
		Status: status,
		Labels: template.KV{
			"alertname": "MonitorMissed", "monitor": monitor, "id": "0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a", "project": "default",
			"severity": "critical", "tags": ",db,nightly,", "team": "platform",
		},
		Annotations: template.KV{
			"summary": monitor + " <missed> a run & is \"late\"", "description": "The run due at 03:00 UTC did not come.",
			"incident_id": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "kind": "missed", "monitor_slug": monitor,
			"evidence": `{"due":"2026-01-02T03:00:00Z","deadline":"2026-01-02T03:05:00Z"}`,
		},
		StartsAt: now.Add(-10 * time.Minute), GeneratorURL: "https://tokiflow.example.com/monitors/" + monitor, Fingerprint: "89abcdef01234567",
	}
	if status == "resolved" {
		a.EndsAt = now
	}
	return a
}

func groupOf(status string, alerts ...template.Alert) *template.Data {
	d := &template.Data{
		Receiver: "team", Status: status, Alerts: alerts, NotificationReason: "first notification",
		GroupLabels: template.KV{}, CommonLabels: template.KV{}, CommonAnnotations: template.KV{}, RouteLabels: template.KV{},
		ExternalURL: "https://alertmanager.example.com",
	}
	if p, ok := alerts[0].Labels["project"]; ok {
		d.GroupLabels["project"] = p
	}
	for name, value := range alerts[0].Labels {
		common := true
		for _, a := range alerts {
			common = common && a.Labels[name] == value
		}
		if common {
			d.CommonLabels[name] = value
		}
	}
	if len(alerts) == 1 {
		maps.Copy(d.CommonAnnotations, alerts[0].Annotations)
	}
	return d
}

// stored is how a Source is kept, before it is sealed.
func (s Source) stored() ([]byte, error) {
	return json.Marshal(s)
}

func readStored(b []byte) (s Source, err error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&s); err != nil {
		return s, fmt.Errorf("a stored alerting configuration cannot be read: %w", err)
	}
	return s, nil
}
