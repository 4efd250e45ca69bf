package alertmanager_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/test/services"
)

const storyConfig = `
route:
  receiver: team
  group_by: [project]
  group_wait: 1s
  group_interval: 1s
  routes:
    - matchers: ['severity="critical"', 'tags=~".*,nightly,.*"']
      receiver: night-watch
    - matchers: ['team="databases"']
      receiver: databases
receivers:
  - name: team
  - name: night-watch
    webhook_configs: [{url: "http://127.0.0.1:9/secret-path"}]
  - name: databases
    pagerduty_configs: [{routing_key: "0123456789abcdef0123456789abcdef"}]
`

// amtool runs amtool against the process; it must end well.
func (p *process) amtool(args ...string) string {
	p.t.Helper()
	said, err := services.Amtool(p.t, nil, append(args, "--alertmanager.url="+p.alertmanager())...)
	if err != nil {
		p.t.Fatalf("amtool %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	if strings.Contains(said, "Warning") {
		p.t.Errorf("amtool %s warns: %s", strings.Join(args, " "), said)
	}
	return said
}

func TestAmtoolChecksTheConfiguration(t *testing.T) {
	p := start(t)
	p.putConfig(storyConfig)
	shown := p.amtool("config", "show")
	if strings.Contains(shown, "secret-path") || strings.Contains(shown, "0123456789abcdef") {
		t.Errorf("a secret is shown:\n%s", shown)
	}
	written := filepath.Join(t.TempDir(), "alertmanager.yml")
	for name, text := range map[string]string{"what was put": storyConfig, "the default": ""} {
		if text == "" {
			p.call(http.MethodDelete, "/api/v1/alerting/config", nil, nil)
			text = p.amtool("config", "show")
		}
		if err := os.WriteFile(written, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := services.Amtool(t, nil, "check-config", written); err != nil || !strings.Contains(said, "SUCCESS") {
			t.Errorf("%s: %v\n%s\n%s", name, err, said, text)
		}
	}
}

func TestAmtoolTestsTheRoutes(t *testing.T) {
	p := start(t)
	p.putConfig(storyConfig)
	for labels, receiver := range map[string]string{
		`severity=critical tags=",a,nightly,b,"`: "night-watch",
		`severity=warning tags=",nightly,"`:      "team",
		"team=databases":                         "databases",
		"anything=else":                          "team",
	} {
		args := append([]string{"config", "routes", "test", "--verify.receivers=" + receiver}, strings.Fields(labels)...)
		if said := p.amtool(args...); strings.TrimSpace(said) != receiver {
			t.Errorf("%s goes to %q, want %s", labels, said, receiver)
		}
	}
	said, err := services.Amtool(t, nil, "config", "routes", "test", "--verify.receivers=nobody", "team=databases", "--alertmanager.url="+p.alertmanager())
	if err == nil {
		t.Errorf("a wrong receiver is found right: %s", said)
	}
	if tree := p.amtool("config", "routes", "show"); !strings.Contains(tree, "night-watch") {
		t.Errorf("the tree of routes: %s", tree)
	}
}

func TestAmtoolAddsAlertsAndSilences(t *testing.T) {
	p := start(t)
	p.amtool("alert", "add", "DiskFull", "host=db1", "severity=warning", "--annotation=summary=it is full")
	p.amtool("alert", "add", "DiskFull", "host=db2")
	said := p.amtool("alert", "query", "-o", "extended")
	if !strings.Contains(said, `host="db1"`) || !strings.Contains(said, `host="db2"`) {
		t.Fatalf("the alerts that were added: %s", said)
	}
	if said = p.amtool("alert", "query", "host=db1"); !strings.Contains(said, "DiskFull") || strings.Contains(said, "db2") {
		t.Errorf("one of them: %s", said)
	}
	id := strings.TrimSpace(p.amtool("silence", "add", "host=db1", "--author=me", "--comment=it is known", "--duration=1h"))
	if said = p.amtool("silence", "query"); !strings.Contains(said, id) || !strings.Contains(said, "it is known") {
		t.Errorf("the silence %q: %s", id, said)
	}
	if said = p.amtool("alert", "query", "-o", "extended"); strings.Contains(said, "db1") || !strings.Contains(said, "db2") {
		t.Errorf("a silenced alert is active: %s", said)
	}
	if said = p.amtool("alert", "query", "--silenced", "-o", "json"); !strings.Contains(said, id) {
		t.Errorf("the silenced alert: %s", said)
	}
	p.amtool("silence", "update", id, "--comment=for longer", "--duration=2h")
	ids := strings.Fields(p.amtool("silence", "query", "-q"))
	if len(ids) != 1 {
		t.Fatalf("the silences: %q", ids)
	}
	p.amtool("silence", "expire", ids[0])
	if said = p.amtool("silence", "query", "-q"); strings.TrimSpace(said) != "" {
		t.Errorf("an expired silence holds: %s", said)
	}
	if said = p.amtool("alert", "query"); strings.Count(said, "DiskFull") != 2 {
		t.Errorf("without the silence: %s", said)
	}
	bad, err := services.Amtool(t, nil, "alert", "query", "--alertmanager.url="+strings.Replace(p.alertmanager(), apiKey, "wrong", 1))
	if err == nil {
		t.Errorf("a wrong key is let in: %s", bad)
	}
}

// gettable is an alert as Alertmanager's API shows it.
type gettable struct {
	Labels      map[string]string
	Annotations map[string]string
	EndsAt      time.Time
	StartsAt    time.Time
}

// alertsOf reads the alerts of an Alertmanager.
func alertsOf(t *testing.T, base string) (all []gettable) {
	t.Helper()
	res, err := http.Get(base + "/api/v2/alerts") //nolint:noctx,gosec // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestARealAlertmanagerReceivesAndResolves: an incident of a monitor fires there, with its labels, outlives a restart of that
// Alertmanager, and ends when the monitor is well again.
func TestARealAlertmanagerReceivesAndResolves(t *testing.T) {
	am := services.Alertmanager(t, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
	p := start(t)
	p.putConfig(fmt.Sprintf(`
route: {receiver: theirs, group_by: [project], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
receivers:
  - name: theirs
    alertmanager_configs: [{url: %q, resend_interval: 10s}]
`, am.URL()))
	id, ping := p.monitor("backup")
	p.ping(ping + "/fail")
	there := func() bool {
		for _, a := range alertsOf(t, am.URL()) {
			if a.Labels["alertname"] == "MonitorFailed" && a.Labels["monitor"] == "backup" && a.Labels["id"] == id && a.Labels["tags"] == ",nightly," {
				return true
			}
		}
		return false
	}
	eventually(t, time.Minute, "the alert is at the other Alertmanager", there)
	for _, a := range alertsOf(t, am.URL()) {
		if a.Annotations["summary"] == "" || a.Annotations["incident_id"] == "" || !a.EndsAt.After(time.Now()) {
			t.Errorf("%+v", a)
		}
	}
	am.Kill()
	am.Restart()
	eventually(t, 3*time.Minute, "it is told again to one that has forgotten it", there)
	p.ping(ping)
	eventually(t, time.Minute, "the alert is over there", func() bool { return !there() })
}

// TestAPrometheusSendsItsAlerts: an alert of a real Prometheus is routed here, and resolved.
func TestAPrometheusSendsItsAlerts(t *testing.T) {
	p := start(t)
	host := strings.TrimPrefix(p.base, "http://")
	rules := filepath.Join(t.TempDir(), "rules.yml")
	write := func(expr string) {
		if err := os.WriteFile(rules, fmt.Appendf(nil, `groups: [{name: g, interval: 1s, rules: [{alert: Watchdog, expr: %s, labels: {severity: none}}]}]`, expr), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("vector(1)")
	config := fmt.Sprintf(`
global: {evaluation_interval: 1s, external_labels: {cluster: home}}
rule_files: [%q]
alerting:
  alertmanagers:
    - path_prefix: /alertmanager
      api_version: v2
      authorization: {credentials: %q}
      static_configs: [{targets: [%q]}]
`, rules, apiKey, host)
	// Without the flag what it sent before it had found us would come again after a minute.
	prometheus := services.Prometheus(t, config, "--rules.alert.resend-delay=2s")
	query := func() string { return p.amtool("alert", "query", "alertname=Watchdog", "cluster=home", "-o", "simple") }
	eventually(t, time.Minute, "the alert is here", func() bool { return strings.Contains(query(), "Watchdog") })
	write("vector(1) > 2")
	prometheus.Reload(config)
	eventually(t, 2*time.Minute, "the alert is over", func() bool { return !strings.Contains(query(), "Watchdog") })
}
