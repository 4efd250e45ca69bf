// Package mail tells alerts by e-mail: Alertmanager's email_configs and resend_configs of ours, each recipient in a message of its
// own. An address is told nothing before somebody has said there that it wants to be; what is said to it then follows its
// preferences: which kinds of alerts, at which hours, one by one or collected. What is not told at once is stored first.
package mail

import (
	"context"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"
	amtemplate "github.com/prometheus/alertmanager/template"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/loop"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Log takes down what was, or was not, told to one address. Safe for concurrent use.
type Log interface {
	SaveNotification(ctx context.Context, org tenant.OrgID, n alert.Notification) error
}

// Sealer makes links that nobody else can make. It opens only with the same about. Safe for concurrent use.
type Sealer interface {
	Seal(plain, about []byte) ([]byte, error)
	Open(sealed, about []byte) ([]byte, error)
}

// Router is what Routes needs of a router: a chi.Router is one.
type Router interface {
	Get(pattern string, h http.HandlerFunc)
	Post(pattern string, h http.HandlerFunc)
}

// Options of a Mailer. Store, Log, Sealer, SMTP, Resend, Config and BaseURL are required.
type Options struct {
	Store  Store
	Log    Log
	Sealer Sealer
	// SMTP and Resend make what sends for a customer's own server or key: they reach public addresses only.
	SMTP   func(mail.Server) (mail.Sender, error)
	Resend func(apiKey string) mail.Sender
	// Config reads an organisation's configuration and its version.
	Config func(ctx context.Context, org tenant.OrgID) (*config.Config, int64, error)
	// Sender is the installation's, for entries without a server or key of their own, and From its address; nil: there is none.
	Sender mail.Sender
	From   mail.Address
	// Trusted: whoever writes the configuration answers for its addresses, so they are not asked.
	Trusted bool
	// BaseURL is under which recipients reach this server, as https://tokiflow.example.com.
	BaseURL string

	Clock      func() time.Time      // nil: time.Now
	Poll       time.Duration         // how often to look for what is due; 0: 10 s
	Logger     *slog.Logger          // nil: none
	Registerer prometheus.Registerer // nil: none
}

// Mailer tells by e-mail, for all organisations. Safe for concurrent use.
type Mailer struct {
	o       Options
	base    *url.URL
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	pages   *template.Template // of HTML: mails, and what links lead to
	wake    chan struct{}
}

// New makes a Mailer. What is held is sent while Run runs, in any process.
func New(o Options) (*Mailer, error) {
	if o.Store == nil || o.Log == nil || o.Sealer == nil || o.SMTP == nil || o.Resend == nil || o.Config == nil {
		return nil, errors.New("a mailer needs a store, a log, a sealer, senders and the configurations")
	}
	base, err := url.Parse(strings.TrimRight(o.BaseURL, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("the base URL must be one that recipients can open, as https://tokiflow.example.com")
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Poll == 0 {
		o.Poll = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	pages, err := parsed()
	if err != nil {
		return nil, err
	}
	return &Mailer{
		o: o, base: base, now: o.Clock, log: o.Logger, metrics: newMetrics(o.Registerer), pages: pages, wake: make(chan struct{}, 1),
	}, nil
}

// nudge has Run look for what is due.
func (m *Mailer) nudge() {
	loop.Poke(m.wake)
}

// Email returns what makes the notifiers of an organisation's email_configs: a receivers.EmailFactory.
func (m *Mailer) Email(org tenant.OrgID) func(c *amconfig.EmailConfig, t *amtemplate.Template) (notify.Notifier, error) {
	return func(c *amconfig.EmailConfig, t *amtemplate.Template) (notify.Notifier, error) {
		return m.email(org, c, t)
	}
}

// Resend returns what makes the notifiers of an organisation's resend_configs: a receivers.Factory.
func (m *Mailer) Resend(org tenant.OrgID) func(e config.Entry, t *amtemplate.Template) (notify.Notifier, error) {
	return func(e config.Entry, t *amtemplate.Template) (notify.Notifier, error) { return m.resend(org, e, t) }
}
