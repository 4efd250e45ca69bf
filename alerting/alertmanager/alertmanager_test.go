package alertmanager_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/alertmanager"
	"github.com/tokiflow/tokiflow/alerting/config"
)

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

func client() *http.Client { return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} }

func TestWhatIsSent(t *testing.T) {
	type request struct {
		path, authorization string
		alerts              []map[string]any
	}
	var got []request
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		one := request{path: r.URL.Path, authorization: r.Header.Get("Authorization")}
		if err := json.Unmarshal(body, &one.alerts); err != nil {
			t.Errorf("%v: %s", err, body)
		}
		got = append(got, one)
	}))
	defer s.Close()
	n, err := alertmanager.New(config.Entry{Node: node(t, "url: "+s.URL+"/am/\nbearer_token: b\nlabels: {from: tokiflow}")}, client(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Add(-time.Hour).UTC()
	alerts := []*amalert.Alert{
		{Alert: model.Alert{Labels: model.LabelSet{"alertname": "a", "from": "me"}, StartsAt: start, GeneratorURL: "https://a.example/x"}},
		{Alert: model.Alert{Labels: model.LabelSet{"alertname": "b"}, Annotations: model.LabelSet{"summary": "s"}, StartsAt: start, EndsAt: start.Add(time.Minute), GeneratorURL: "no link"}},
	}
	for i := range 700 { // two requests
		alerts = append(alerts, &amalert.Alert{Alert: model.Alert{Labels: model.LabelSet{"alertname": model.LabelValue(fmt.Sprint(i))}, StartsAt: start}})
	}
	if retry, err := n.Notify(t.Context(), alerts...); err != nil || retry {
		t.Fatal(err)
	}
	if len(got) != 2 || len(got[0].alerts) != 500 || len(got[1].alerts) != 202 {
		t.Fatalf("%d requests", len(got))
	}
	if got[0].path != "/am/api/v2/alerts" || got[0].authorization != "Bearer b" {
		t.Errorf("%s, %s", got[0].path, got[0].authorization)
	}
	a, b := got[0].alerts[0], got[0].alerts[1]
	if l := a["labels"].(map[string]any); l["from"] != "me" || b["labels"].(map[string]any)["from"] != "tokiflow" {
		t.Errorf("labels %v", l)
	}
	ends, err := time.Parse(time.RFC3339, a["endsAt"].(string))
	if err != nil || time.Until(ends) < 4*time.Minute || a["generatorURL"] != "https://a.example/x" || a["annotations"] == nil {
		t.Errorf("%v, %v", a, err)
	}
	if b["endsAt"] != start.Add(time.Minute).Format(time.RFC3339Nano) || b["generatorURL"] != nil {
		t.Errorf("%v", b)
	}
}

func TestResendIsDueOnceAnInterval(t *testing.T) {
	n, hits := counting(t)
	ctx := notify.WithGroupKey(t.Context(), "g")
	alerts := []*amalert.Alert{{Alert: model.Alert{Labels: model.LabelSet{"alertname": "a"}, StartsAt: time.Now()}}}
	for i, want := range []bool{true, false, false} {
		if sent, err := n.Resend(ctx, alerts...); sent != want || err != nil {
			t.Errorf("%d: %t, %v", i, sent, err)
		}
	}
	if sent, err := n.Resend(notify.WithGroupKey(t.Context(), "other"), alerts...); !sent || err != nil {
		t.Errorf("another group: %t, %v", sent, err)
	}
	if *hits != 2 {
		t.Errorf("%d requests", *hits)
	}
}

func counting(t testing.TB) (*alertmanager.Notifier, *int) {
	hits := new(int)
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { *hits++ }))
	t.Cleanup(s.Close)
	n, err := alertmanager.New(config.Entry{Node: node(t, "url: "+s.URL+"\nusername: u\npassword: p")}, client(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return n, hits
}

func TestCheck(t *testing.T) {
	k := alertmanager.Kind()
	for text, words := range map[string]string{
		"url: https://am.example/x": "", "{url: 'https://am.example', username: u, password: p, send_resolved: false, resend_interval: 30s}": "",
		"": "empty", "{}": "url", "url: am.example": "url", "url: http://10.0.0.1": "private", "{url: 'https://a.example', resend_interval: 1s}": "resend_interval",
		"{url: 'https://a.example', bearer_token: b, password: p}": "bearer_token", "{url: 'https://a.example', labels: {'': x}}": "labels", "{url: 'https://a.example', path: x}": "path",
	} {
		err := k.Check(node(t, text), false)
		if (err == nil) != (words == "") || (err != nil && !strings.Contains(err.Error(), words)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := k.Check(node(t, "url: http://10.0.0.1"), true); err != nil {
		t.Error(err)
	}
	if k.Key != k.Name+"_configs" || len(k.Secrets) == 0 {
		t.Errorf("%+v", k)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("url: https://a.example\nlabels: {a: b}\nresend_interval: 30s")
	f.Fuzz(func(t *testing.T, text string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(text), &n) != nil || len(n.Content) == 0 {
			return
		}
		if alertmanager.Kind().Check(n.Content[0], false) != nil {
			return
		}
		if _, err := alertmanager.New(config.Entry{Node: n.Content[0]}, client(), 0); err != nil { // what was found good can be made
			t.Error(err)
		}
	})
}
