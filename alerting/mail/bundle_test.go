package mail_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/go-cmp/cmp"
	amalert "github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	commoncfg "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/mail"
	"github.com/tokiflow/tokiflow/core/alert"
	core "github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/recipient"
	"github.com/tokiflow/tokiflow/core/tenant"
	inframail "github.com/tokiflow/tokiflow/infra/mail"
	"github.com/tokiflow/tokiflow/infra/mail/mailtest"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/safehttp"
	"github.com/tokiflow/tokiflow/infra/seal"
	"github.com/tokiflow/tokiflow/infra/store"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	const cluster = "github.com/tokiflow/tokiflow/infra/pg/pgtest.(*Cluster)"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(cluster+".Start.func1"), goleak.IgnoreAnyFunction(cluster+".startWatchdog.func1"))
}

// night is when the stories begin: a Monday.
func night() time.Time { return time.Date(2026, 11, 23, 2, 5, 10, 0, time.UTC) }

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *clock) to(at time.Time) { c.mu.Lock(); defer c.mu.Unlock(); c.at = at }

// bundle is a Mailer over a fresh database, whose installation sends by an SMTP server on loopback.
type bundle struct {
	t      *testing.T
	ctx    context.Context
	clock  *clock
	store  *store.Store
	exec   func(sql string, args ...any)
	server *mailtest.Server
	mailer *mail.Mailer
	pages  http.Handler
	org    tenant.OrgID
	config *config.Config
	o      mail.Options
}

func newBundle(t *testing.T, server mailtest.Options, change ...func(*mail.Options)) *bundle {
	t.Helper()
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	pool := pgtest.New(t)
	s := &bundle{t: t, ctx: ctx, clock: &clock{at: night()}, store: store.New(pool), server: mailtest.Start(t, server), config: &config.Config{}}
	s.exec = func(sql string, args ...any) {
		t.Helper()
		if _, err := pool.Exec(ctx, sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	boot, err := s.store.Bootstrap(ctx, "")
	s.must(err)
	s.org = boot.Org.ID
	box, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize))
	s.must(err)
	senders := &inframail.Senders{Dial: safehttp.DialContext(safehttp.Options{AllowPrivate: true}), Hello: "tokiflow.test"}
	installation, err := senders.SMTP(core.Server{Host: s.server.Host, Port: s.server.Port, Security: core.Plain})
	s.must(err)
	s.o = mail.Options{
		Store: s.store, Log: s.store, Sealer: box, SMTP: senders.SMTP, Resend: senders.Resend, BaseURL: "https://tokiflow.example.com", Clock: s.clock.now,
		Sender: installation, From: core.Address{Name: "Tokiflow", Address: "alerts@example.com"}, Poll: time.Hour,
		Config: func(context.Context, tenant.OrgID) (*config.Config, int64, error) { return s.config, 1, nil },
	}
	for _, c := range change {
		c(&s.o)
	}
	s.mailer, err = mail.New(s.o)
	s.must(err)
	r := chi.NewRouter()
	s.mailer.Routes(r)
	s.pages = r
	return s
}

func (s *bundle) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// emailConfig is an entry as a configuration has it that says nothing but to whom.
func emailConfig(to string) *amconfig.EmailConfig {
	return &amconfig.EmailConfig{
		To: to, From: config.InstallationFrom, Smarthost: amconfig.HostPort{Host: config.InstallationHost, Port: "25"}, HTML: amconfig.DefaultEmailConfig.HTML,
		Headers: map[string]string{},
	}
}

func (s *bundle) notifier(to string) notify.Notifier {
	s.t.Helper()
	return s.notifierOf(emailConfig(to))
}

func (s *bundle) notifierOf(c *amconfig.EmailConfig) notify.Notifier {
	s.t.Helper()
	n, err := s.mailer.Email(s.org)(c, s.template(""))
	s.must(err)
	return n
}

// template is Alertmanager's, with our defaults over its own and an organisation's over ours.
func (s *bundle) template(own string) *template.Template {
	s.t.Helper()
	t, err := template.FromGlobs(nil)
	s.must(err)
	s.must(t.Parse(strings.NewReader(mail.Templates())))
	s.must(t.Parse(strings.NewReader(own)))
	t.ExternalURL = &url.URL{Scheme: "https", Host: "tokiflow.example.com", Path: "/alertmanager"}
	return t
}

// flush is what a group of alerts is told with; store goes on from one to the next, as Alertmanager's notification log does.
type flush struct {
	reason notify.NotifyReason
	store  *nflog.Store
}

func (s *bundle) context(f flush) context.Context {
	ctx := notify.WithReceiverName(s.ctx, "team")
	ctx = notify.WithGroupKey(ctx, `{}:{project="db"}`)
	ctx = notify.WithGroupLabels(ctx, model.LabelSet{"project": "db"})
	ctx = notify.WithNow(ctx, s.clock.now())
	ctx = notify.WithNotificationReason(ctx, f.reason)
	if f.store != nil {
		ctx = notify.WithNflogStore(ctx, f.store)
	}
	return ctx
}

func (s *bundle) tell(n notify.Notifier, alerts ...*amalert.Alert) {
	s.t.Helper()
	s.tellIn(n, flush{reason: notify.ReasonFirstNotification}, alerts...)
}

func (s *bundle) tellIn(n notify.Notifier, f flush, alerts ...*amalert.Alert) {
	s.t.Helper()
	if retry, err := n.Notify(s.context(f), alerts...); err != nil {
		s.t.Fatalf("retry %t: %v", retry, err)
	}
}

// trusting is an option by which nobody is asked.
func trusting(o *mail.Options) { o.Trusted = true }

// verified makes addresses that are.
func (s *bundle) verified(addresses ...string) {
	s.t.Helper()
	_, err := s.store.KnowRecipients(s.ctx, s.org, addresses, recipient.Via{Receiver: "team", Kind: "email"}, false, s.clock.now())
	s.must(err)
	s.exec(`update recipients set verified_at = now() where address = any ($1)`, addresses)
}

func (s *bundle) prefers(address string, p recipient.Preferences) {
	s.t.Helper()
	_, err := s.store.PutRecipient(s.ctx, s.org, address, p.Normalise(), s.clock.now())
	s.must(err)
}

// serve does what is due until nothing more is.
func (s *bundle) serve() {
	s.t.Helper()
	s.must(s.mailer.Serve(s.ctx))
}

func (s *bundle) notifications() []alert.Notification {
	s.t.Helper()
	list, err := s.store.Notifications(s.ctx, s.org, alert.NotificationFilter{Limit: 100})
	s.must(err)
	return list
}

// missed is an incident's alert, resolved where ends is not zero.
func missed(name string, ends time.Time) *amalert.Alert {
	starts := time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC)
	return &amalert.Alert{UpdatedAt: starts, Alert: model.Alert{
		StartsAt: starts, EndsAt: ends, GeneratorURL: "https://tokiflow.example.com/api/v1/incidents/0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a",
		Labels: model.LabelSet{
			"alertname": "MonitorMissed", "monitor": model.LabelValue(name), "id": "6a0e7a56-0b7e-4f3c-9a3b-0b9c3f5e3c43", "project": "db", "severity": "critical", "tags": ",nightly,pg,",
		},
		Annotations: model.LabelSet{
			"summary": "backup is missed", "incident_id": "0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a", "kind": "missed",
			"evidence": `{"last_ping_at":"2026-11-22T02:00:07Z","last_ping_kind":"success","due_at":"2026-11-23T02:00:00Z","deadline_at":"2026-11-23T02:05:00Z"}`,
		},
	}}
}

func late(name string, ends time.Time) *amalert.Alert {
	a := missed(name, ends)
	a.Labels["alertname"], a.Labels["severity"] = "MonitorLate", "warning"
	a.Annotations["kind"], a.Annotations["summary"] = "late", model.LabelValue(name)+" is late"
	delete(a.Annotations, "incident_id")
	return a
}

// letter is a mail taken apart.
type letter struct {
	to, subject, text, html string
	header                  netmail.Header
}

func open(t testing.TB, taken mailtest.Taken) letter {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(taken.Data))
	if err != nil {
		t.Fatal(err)
	}
	l := letter{to: taken.To, header: m.Header}
	if l.subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return l
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(body), "\r\n", "\n")
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			l.html = text
		} else {
			l.text = text
		}
	}
}

func (s *bundle) letters() []letter {
	s.t.Helper()
	var out []letter
	for _, taken := range s.server.Taken() {
		out = append(out, open(s.t, taken))
	}
	return out
}

func (s *bundle) last() letter {
	s.t.Helper()
	all := s.letters()
	if len(all) == 0 {
		s.t.Fatal("no mail came")
	}
	return all[len(all)-1]
}

// golden compares with a file of testdata, tokens left out; -update writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	got = regexp.MustCompile(`\?t=[A-Za-z0-9_%-]+`).ReplaceAllString(got, "?t=TOKEN")
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", name, diff)
	}
}

// ask sends a request to the pages.
func (s *bundle) ask(method, target string, form url.Values) *httptest.ResponseRecorder {
	s.t.Helper()
	u, err := url.Parse(target)
	s.must(err)
	r := httptest.NewRequestWithContext(s.ctx, method, u.RequestURI(), strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	s.pages.ServeHTTP(w, r)
	return w
}

func linkIn(t *testing.T, text, path string) string {
	t.Helper()
	link := regexp.MustCompile(`https://tokiflow\.example\.com` + path + `\?t=[A-Za-z0-9_-]+`).FindString(text)
	if link == "" {
		t.Fatalf("no link to %s in\n%s", path, text)
	}
	return link
}

func tlsWith(ca []byte) *commoncfg.TLSConfig { return &commoncfg.TLSConfig{CA: string(ca)} }
