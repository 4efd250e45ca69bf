package mail_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/mail"
	core "github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
	inframail "github.com/tokiflow/tokiflow/infra/mail"
	"github.com/tokiflow/tokiflow/infra/mail/mailtest"
	"github.com/tokiflow/tokiflow/infra/safehttp"
	"github.com/tokiflow/tokiflow/infra/store"
)

// dead is a store of a process that dies before it marks.
type dead struct{ *store.Store }

func (dead) FinishRecipient(context.Context, tenant.OrgID, string, recipient.Done) error {
	return context.Canceled
}

// mailerOf is the bundle with another Mailer.
func (s *bundle) mailerOf(o mail.Options) *other {
	s.t.Helper()
	m, err := mail.New(o)
	s.must(err)
	return &other{s, m}
}

type other struct {
	*bundle
	m *mail.Mailer
}

// serve does one round: a dead process does no more.
func (o *other) serve() {
	o.t.Helper()
	ctx, cancel := context.WithCancel(o.ctx)
	done := make(chan error, 1)
	go func() { done <- o.m.Run(ctx) }()
	o.server.Wait(1)
	cancel()
	if err := <-done; err != nil {
		o.t.Fatal(err)
	}
}

func TestAnEntryWithAServerOfItsOwn(t *testing.T) {
	s := newBundle(t, mailtest.Options{})
	theirs := mailtest.Start(t, mailtest.Options{TLS: true, Auth: []string{"PLAIN"}})
	s.verified("team@example.com")
	tlsOn := true
	c := emailConfig("team@example.com")
	c.Smarthost = amconfig.HostPort{Host: theirs.Host, Port: fmt.Sprint(theirs.Port)}
	c.From, c.AuthUsername, c.AuthPassword, c.RequireTLS = "Ours <ops@example.org>", "user", "pass", &tlsOn
	c.TLSConfig = tlsWith(theirs.CA)
	c.Headers = map[string]string{"X-Team": "{{ .GroupLabels.project }}", "Reply-To": "ops@example.org", "Subject": "URGENT {{ template \"email.default.subject\" . }}"}
	s.tell(s.notifierOf(c), missed("backup", time.Time{}))
	taken := theirs.Taken()
	if len(taken) != 1 || taken[0].User != "user" || !taken[0].TLS || taken[0].From != "ops@example.org" || len(s.server.Taken()) != 0 {
		t.Fatalf("got %+v", taken)
	}
	l := open(t, taken[0])
	if l.subject != "URGENT [missed] backup (db) — since 02:05 UTC" || l.header.Get("X-Team") != "db" || l.header.Get("Reply-To") != "ops@example.org" {
		t.Errorf("got %q, %v", l.subject, l.header)
	}

	// What is held for later goes by the entry as it is in the configuration then.
	s.config = &config.Config{Alertmanager: &amconfig.Config{Receivers: []amconfig.Receiver{{Name: "team", EmailConfigs: []*amconfig.EmailConfig{c}}}}}
	s.prefers("team@example.com", recipient.Preferences{Digest: recipient.Hourly, Critical: recipient.CriticalHeld})
	s.tell(s.notifierOf(c), missed("copy", time.Time{}))
	s.clock.to(night().Add(time.Hour))
	s.serve()
	if taken = theirs.Taken(); len(taken) != 2 || taken[1].From != "ops@example.org" {
		t.Fatalf("the digest: %+v", taken)
	}
	s.tell(s.notifierOf(c), missed("third", time.Time{}))
	s.config = &config.Config{Alertmanager: &amconfig.Config{}}
	s.clock.to(night().Add(3 * time.Hour))
	s.serve()
	if len(s.server.Taken()) != 1 {
		t.Error("what was held for an entry that is gone was not told by the installation")
	}
}

func TestTemplatesOfTheConfiguration(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting)
	told := func(c *amconfig.EmailConfig, own string) letter {
		t.Helper()
		n, err := s.mailer.Email(s.org)(c, s.template(own))
		s.must(err)
		s.tell(n, missed("<b>backup</b>", time.Time{}))
		return s.last()
	}
	c := emailConfig("team@example.com")
	c.HTML, c.Text = `<p>{{ range .Alerts }}{{ .Labels.monitor }}{{ end }}</p>`, `{{ .Status }} text`
	if l := told(c, ""); l.html != "<p>&lt;b&gt;backup&lt;/b&gt;</p>" || l.text != "firing text" {
		t.Errorf("its own: %q, %q", l.html, l.text)
	}
	if l := told(emailConfig("team@example.com"), `{{ define "email.default.html" }}<i>theirs</i>{{ end }}{{ define "email.default.subject" }}their subject{{ end }}`); l.html != "<i>theirs</i>" || !strings.Contains(l.text, "is missed since") {
		t.Errorf("over the defaults: %q, %q", l.html, l.text)
	}
	c = emailConfig("team@example.com")
	c.Headers["Subject"] = amconfig.DefaultEmailSubject
	if l := told(c, `{{ define "email.default.subject" }}their{{ "\n" }}subject{{ end }}`); l.subject != "their subject" {
		t.Errorf("a subject of two lines: %q", l.subject)
	}
	c = emailConfig("{{ .Nothing.At.All }}")
	n, err := s.mailer.Email(s.org)(c, s.template(""))
	s.must(err)
	if retry, err := n.Notify(s.context(flush{reason: notify.ReasonFirstNotification}), missed("x", time.Time{})); err == nil || retry {
		t.Errorf("a template that fails: %t, %v", retry, err)
	}
}

func TestTextsOfCustomersStayTexts(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting)
	a := missed("x</h1><script>alert(1)</script>\r\nBcc: victim@example.com\x1b[31m\u202e", time.Time{})
	a.Labels["project"] = `"><img src=x onerror=alert(1)>`
	a.GeneratorURL = "javascript:alert(1)"
	a.Annotations["evidence"] = `{"exit_code":3,"output":"line\u001b[2J one\r\n<script>two</script>\n\u202ethree"}`
	a.Annotations["kind"] = "fail"
	b := &alert.Alert{Alert: model.Alert{
		StartsAt: a.StartsAt, Labels: model.LabelSet{"alertname": "HighLatency", "path": "<a href=x>"},
		Annotations: model.LabelSet{"summary": "slow\x00\n\n<b>very</b>", "description": "long " + model.LabelValue(strings.Repeat("words ", 50))}, GeneratorURL: "https://prometheus.example.com/graph?a=1&b=2",
	}}
	s.tell(s.notifier("team@example.com"), a, b)
	l := s.last()
	for _, bad := range []string{"<script>", "<img", "<a href=x>", "javascript:", "<b>very"} {
		if strings.Contains(l.html, bad) {
			t.Errorf("%q in the HTML:\n%s", bad, l.html)
		}
	}
	if strings.ContainsAny(l.text+l.html+l.subject, "\x1b\x00\u202e\r") || l.header.Get("Bcc") != "" || strings.Contains(l.subject, "\n") {
		t.Errorf("control characters came through: %q", l.text)
	}
	golden(t, "hostile.txt", l.text)
	golden(t, "hostile.html", l.html)
}

func TestManyAlerts(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting)
	var alerts []*alert.Alert
	for i := range 250 {
		a := missed(fmt.Sprintf("job-%03d", i), time.Time{})
		if i%5 == 0 {
			a.EndsAt = night()
		}
		alerts = append(alerts, a)
	}
	s.tell(s.notifier("team@example.com"), alerts...)
	l := s.last()
	if want := "[200 firing, 50 recovered] db — job-000, job-001, job-002 and 247 more"; l.subject != want {
		t.Errorf("subject %q, want %q", l.subject, want)
	}
	if n := strings.Count(l.text, "\n* "); n != 90 || strings.Count(l.text, "  Severity") != 10 || len(l.text)+len(l.html) > 64<<10 {
		t.Errorf("%d lines, %d with facts, %d bytes", n, strings.Count(l.text, "  Severity"), len(l.text)+len(l.html))
	}
	if !strings.Contains(l.text, "and 120 more") || !strings.Contains(l.text, "and 30 more") {
		t.Errorf("what is left out is not said:\n%s", l.text)
	}
}

func TestWithoutASender(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting, func(o *mail.Options) { o.Sender = nil })
	retry, err := s.notifier("team@example.com").Notify(s.context(flush{}), missed("x", time.Time{}))
	if err == nil || retry || !strings.Contains(err.Error(), "--smtp-url") {
		t.Errorf("got %t, %v", retry, err)
	}
}

func TestAddressesThatCannotBe(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting)
	for _, to := range []string{"nobody", "", "{{ .GroupLabels.missing }}", "a@example.com\nBcc: b@example.com", strings.Repeat("a@example.com,", 101) + "b@example.com"} {
		retry, err := s.notifier(to).Notify(s.context(flush{}), missed("x", time.Time{}))
		if err == nil || retry {
			t.Errorf("%.30q: %t, %v", to, retry, err)
		}
	}
	c := emailConfig("a@example.com")
	c.Headers["Bcc"] = "b@example.com"
	if _, err := s.mailer.Email(s.org)(c, s.template("")); err == nil {
		t.Error("Bcc is taken")
	}
	if n := len(s.server.Taken()); n != 0 {
		t.Errorf("%d mails", n)
	}
}

func node(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	if len(n.Content) == 0 {
		return &n
	}
	return n.Content[0]
}

func TestResendEntriesAreChecked(t *testing.T) {
	k := mail.Kind()
	if k.Name != "resend" || k.Key != "resend_configs" || fmt.Sprint(k.Secrets) != "[api_key]" {
		t.Errorf("got %+v", k)
	}
	for _, good := range []string{
		"to: a@example.com", "to: 'Team <a@example.com>, b@example.com'\nfrom: Us <c@example.com>\napi_key: re_x\nsubject: '{{ .Status }}'\nhtml: '<p>'\ntext: x\nsend_resolved: true\nheaders: {X-Team: a}",
		"to: '{{ .CommonLabels.team }}@example.com'",
	} {
		if err := k.Check(node(t, good), false); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"[]": "must be a map", "{}": "to: ", "to: nobody": "to: ", "to: [a]": "to: has the wrong type", "to: a@b.c\nfrom: x": "from: ",
		"to: a@b.c\nfrom: 'a@b.c, d@e.f'": "from: ", "to: a@b.c\nsubject: '{{ .x'": "subject: ", "to: a@b.c\nhtml: '{{ nothing }}'": "html: ",
		"to: a@b.c\napi_key: 're s3cret'": "api_key: ", "to: a@b.c\napi_key: {s3cret: x}": "api_key: has the wrong type", "to: a@b.c\nwhat: 1": "what: unknown key",
		"to: a@b.c\nheaders: {Bcc: x@y.z}": "headers: Bcc", "to: a@b.c\nheaders: {'X Y': z}": "headers: ", "to: a@b.c\nheaders: {X: '{{'}": "headers: X",
		"to: a@b.c\nsend_resolved: maybe": "send_resolved: ",
	} {
		err := k.Check(node(t, bad), false)
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: got %v, want %s…", bad, err, want)
		}
	}
	if err := k.Check(nil, false); err == nil {
		t.Error("no entry at all")
	}
}

func FuzzResendEntry(f *testing.F) {
	for _, s := range []string{"to: a@b.c", "to: '{{ .x }}'\nhtml: <p>", "[]", "to: a@b.c\nheaders: {a: b}", "&a {to: *a}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(s), &n) != nil || len(n.Content) == 0 {
			return
		}
		_ = mail.Kind().Check(n.Content[0], false) // must not panic
	})
}

func TestByResend(t *testing.T) {
	var mu sync.Mutex
	var bodies []map[string]any
	var keys []string
	status := http.StatusOK
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var b map[string]any
		if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
			t.Error(err)
		}
		bodies, keys = append(bodies, b), append(keys, r.Header.Get("Authorization")+" "+r.Header.Get("Idempotency-Key"))
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{}`)
	}))
	client := safehttp.New(safehttp.Options{AllowPrivate: true})
	t.Cleanup(func() { client.CloseIdleConnections(); api.Close() })
	senders := &inframail.Senders{Client: client, ResendURL: api.URL}
	s := newBundle(t, mailtest.Options{}, trusting, func(o *mail.Options) { o.Resend = func(k string) core.Sender { return senders.Resend(k) } })
	n, err := s.mailer.Resend(s.org)(config.Entry{
		Kind: "resend", Receiver: "team", Index: 2, Node: node(t, "to: team@example.com\napi_key: re_key\nfrom: ops@example.org\nsubject: 'S {{ .Status }}'"),
	}, s.template(""))
	s.must(err)
	s.tell(n, missed("backup", time.Time{}))
	if len(bodies) != 1 || bodies[0]["subject"] != "S firing" || bodies[0]["from"] != "<ops@example.org>" || !strings.HasPrefix(keys[0], "Bearer re_key ") {
		t.Fatalf("got %v, %v", bodies, keys)
	}
	if text, _ := bodies[0]["text"].(string); !strings.Contains(text, "backup is missed") || !strings.Contains(fmt.Sprint(bodies[0]["html"]), "<h1") {
		t.Errorf("not our texts: %v", bodies[0])
	}
	// Told to wait, it waits: it is stored, and the same message sent later.
	status = http.StatusTooManyRequests
	s.tell(n, missed("copy", time.Time{}))
	status = http.StatusOK
	s.config = &config.Config{Entries: []config.Entry{{
		Kind: "resend", Receiver: "team", Index: 2, Node: node(t, "to: team@example.com\napi_key: re_key\nfrom: ops@example.org"),
	}}}
	s.serve()
	if len(bodies) != 2 {
		t.Errorf("%d requests: it did not wait", len(bodies))
	}
	s.clock.to(night().Add(2 * time.Minute))
	s.serve()
	if len(bodies) != 3 || keys[1] != keys[2] {
		t.Errorf("requests: %v", keys)
	}
	if n := len(s.server.Taken()); n != 0 {
		t.Errorf("%d by the installation", n)
	}
	status = http.StatusUnauthorized
	if retry, err := n.Notify(s.context(flush{}), missed("third", time.Time{})); err == nil || retry || strings.Contains(err.Error(), "re_key") {
		t.Errorf("a wrong key: %t, %v", retry, err)
	}
}
