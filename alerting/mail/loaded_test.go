package mail_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/mail"
	"github.com/tokiflow/tokiflow/alerting/texts"
	"github.com/tokiflow/tokiflow/infra/mail/mailtest"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

// TestAsAConfigurationGivesThem has entries and templates as they come out of a configuration that was read, made safe to run.
func TestAsAConfigurationGivesThem(t *testing.T) {
	s := newBundle(t, mailtest.Options{}, trusting)
	c, err := config.Load(config.Source{YAML: `
route:
  receiver: team
receivers:
  - name: team
    email_configs:
      - to: '{{ .GroupLabels.project }}@example.com'
        headers: {Subject: 'URGENT {{ template "email.default.subject" . }}'}
    resend_configs:
      - to: boss@example.com
        text: '{{ .Status }}'
`}, config.Options{Kinds: []config.Kind{mail.Kind()}, CheckURL: safehttp.CheckURL, DefaultTemplates: append(texts.All(), mail.Templates())})
	s.must(err)
	template, err := c.NewTemplate(s.template("").ExternalURL)
	s.must(err)
	email, err := s.mailer.Email(s.org)(c.Alertmanager.Receivers[0].EmailConfigs[0], template)
	s.must(err)
	s.tell(email, missed("backup", time.Time{}))
	if l := s.last(); l.to != "db@example.com" || l.subject != "URGENT [missed] backup (db) — since 02:05 UTC" || !strings.Contains(l.html, "backup is missed since") ||
		strings.Contains(l.html, "[[tokiflow") || l.header.Get("From") != `"Tokiflow" <alerts@example.com>` {
		t.Errorf("got %+v", l)
	}
	byKey, err := s.mailer.Resend(s.org)(c.Entries[0], template)
	s.must(err)
	s.tell(byKey, missed("backup", time.Time{}))
	taken := s.server.Taken()
	if got := taken[len(taken)-1]; got.To != "boss@example.com" || !strings.Contains(got.Data, "\r\n\r\nfiring\r\n") && !strings.Contains(got.Data, "\r\n\r\nfiring") {
		t.Errorf("got %+v", got)
	}
}

// TestTheExamplesOfTheDocumentation are configurations that are good, and that the installation sends for.
func TestTheExamplesOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/email.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	for _, block := range blocks {
		c, err := config.Load(config.Source{YAML: string(block[1])}, config.Options{Kinds: []config.Kind{mail.Kind()}, CheckURL: safehttp.CheckURL})
		if err != nil || c.Alertmanager.Receivers[0].EmailConfigs[0].Smarthost.Host != config.InstallationHost || len(c.Entries) != 1 {
			t.Errorf("%v\n%s", err, block[1])
		}
	}
	if len(blocks) != 1 {
		t.Errorf("there are %d", len(blocks))
	}
}
