package signed_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/alerting/signed"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8G"

func node(t testing.TB, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	if len(n.Content) == 0 {
		return nil
	}
	return n.Content[0]
}

// sender makes a notifier to a URL.
func sender(t testing.TB, url, more string, client *http.Client) *signed.Notifier {
	t.Helper()
	if client == nil {
		client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	}
	n, err := signed.New(config.Entry{Node: node(t, "url: "+url+"\nsecret: "+secret+"\n"+more)}, anyTemplate(t), client, "5f0c3b1e-0000-4000-8000-000000000001")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func anyTemplate(t testing.TB) *template.Template {
	tmpl, err := template.FromGlobs(nil)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.ExternalURL = &url.URL{Scheme: "https", Host: "tokiflow.example.com", Path: "/alertmanager"}
	return tmpl
}

func alerts() []*amalert.Alert {
	start := time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC)
	return []*amalert.Alert{
		{Alert: model.Alert{
			Labels: model.LabelSet{
				"alertname": "MonitorFailed", "monitor": "nightly backup", "id": "2f1c4a5e-8f0b-4a36-9c2d-7d1f3b6a9e10", "project": "billing", "severity": "critical",
			},
			Annotations: model.LabelSet{
				"summary": "nightly backup failed with exit status 3", "incident_id": "0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a", "kind": "fail",
				"evidence": `{"exit_code":3,"output":"no space left"}`,
			},
			StartsAt: start, GeneratorURL: "https://tokiflow.example.com/api/v1/incidents/0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a",
		}},
		{Alert: model.Alert{Labels: model.LabelSet{"alertname": "HostDown"}, Annotations: model.LabelSet{"evidence": "text"}, StartsAt: start, EndsAt: start.Add(time.Minute)}},
	}
}

// delivery posts to the handler and returns what it got.
func delivery(t testing.TB, more string, handler http.HandlerFunc) (header http.Header, body []byte, err error) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
		if handler != nil {
			handler(w, r)
		}
	}))
	defer s.Close()
	ctx := notify.WithReceiverName(t.Context(), "ops")
	ctx = notify.WithGroupKey(ctx, `{}:{project="billing"}`)
	ctx = notify.WithGroupLabels(ctx, model.LabelSet{"project": "billing"})
	ctx = notify.WithNotificationReason(ctx, notify.ReasonFirstNotification)
	ctx = outgoing.WithMessageID(ctx, uuid.MustParse("8e0f2d7c-6c1b-5b56-9f53-0c1a2b3c4d5e"))
	_, err = sender(t, s.URL, more, nil).Notify(ctx, alerts()...)
	return header, body, err
}

func TestWhatIsSentIsSigned(t *testing.T) {
	header, body, err := delivery(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(body, header); err != nil {
		t.Error(err)
	}
	if id := header.Get("webhook-id"); id != "msg_8e0f2d7c-6c1b-5b56-9f53-0c1a2b3c4d5e" {
		t.Errorf("id %s", id)
	}
	var m struct {
		template.Data
		Version  string         `json:"version"`
		GroupKey string         `json:"groupKey"`
		Tokiflow map[string]any `json:"tokiflow"`
	}
	if err := json.Unmarshal(body, &m); err != nil { // whoever reads Alertmanager's, reads ours
		t.Fatal(err)
	}
	if m.Version != "4" || m.Status != "firing" || m.Receiver != "ops" || len(m.Alerts) != 2 || m.GroupKey == "" || m.GroupLabels["project"] != "billing" {
		t.Errorf("%+v", m)
	}
	var extras struct {
		Alerts []struct{ Tokiflow map[string]any }
	}
	if err := json.Unmarshal(body, &extras); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]struct{ Tokiflow map[string]any }{
		{map[string]any{
			"incident_id": "0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a", "monitor_id": "2f1c4a5e-8f0b-4a36-9c2d-7d1f3b6a9e10", "kind": "fail", "acknowledged_by": "",
			"evidence": map[string]any{"exit_code": 3.0, "output": "no space left"},
		}},
		{map[string]any{"incident_id": "", "monitor_id": "", "kind": "", "acknowledged_by": "", "evidence": nil}},
	}, extras.Alerts); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestMaxAlerts(t *testing.T) {
	_, body, err := delivery(t, "max_alerts: 1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var m signed.Message
	if err := json.Unmarshal(body, &m); err != nil || len(m.Alerts) != 1 || m.TruncatedAlerts != 1 {
		t.Errorf("%d alerts, %d left out, %v", len(m.Alerts), m.TruncatedAlerts, err)
	}
}

func TestARefusalIsAnError(t *testing.T) {
	_, _, err := delivery(t, "", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	if err == nil || !strings.Contains(err.Error(), "410") {
		t.Errorf("%v", err)
	}
}

func TestCheck(t *testing.T) {
	k := signed.Kind()
	good := "secret: " + secret
	for text, words := range map[string]string{
		"url: https://a.example/x\n" + good: "", "": "empty", good: "url", "url: https://a.example/": "secret", "url: http://127.0.0.1/\n" + good: "private",
		"url: https://a.example/\nsecret: hunter2": "whsec_", "url: https://a.example/\nsecret: whsec_short": "whsec_", "url: https://a.example/\nsecret: whsec_!!!!": "whsec_",
		"url: https://a.example/\nmax_alerts: -1\n" + good: "max_alerts", "url: https://a.example/\nmethod: GET\n" + good: "method",
	} {
		err := k.Check(node(t, text), false)
		if (err == nil) != (words == "") || (err != nil && !strings.Contains(err.Error(), words)) {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), secret)) {
			t.Errorf("%v holds a secret", err)
		}
	}
	if fmt.Sprint(k.Secrets) != "[url secret]" {
		t.Errorf("%v", k.Secrets)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("url: https://a.example\nsecret: " + secret + "\nmax_alerts: 3")
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) != nil || len(n.Content) == 0 {
			return
		}
		if signed.Kind().Check(n.Content[0], false) != nil {
			return
		}
		if _, err := signed.New(config.Entry{Node: n.Content[0]}, nil, nil, ""); err != nil { // what was found good can be made
			t.Error(err)
		}
	})
}
