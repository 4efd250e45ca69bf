// Package receivers makes integrations of an organisation's configuration: Alertmanager's own notifiers behind a dialer that
// reaches public addresses only, and those of ours. Each is wrapped, in one place, so that an attempt is bounded, written down,
// counted, and says nothing secret.
package receivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Factory makes the notifier of an entry of a kind of ours. It does no I/O.
type Factory func(e config.Entry, t *template.Template) (notify.Notifier, error)

// EmailFactory makes the notifier of an entry of email_configs. It does no I/O.
type EmailFactory func(c *amconfig.EmailConfig, t *template.Template) (notify.Notifier, error)

// DialFunc connects over TCP. It decides which addresses may be reached.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Options of an organisation's Receivers. Org, Dial, Client and Log are required.
type Options struct {
	Org tenant.OrgID
	// Dial makes the connections of Alertmanager's notifiers, Client the requests of ours that need nothing else. Both reach
	// only what they may, and Client follows no redirects.
	Dial   DialFunc
	Client *http.Client
	// Log takes down what was tried. It is shared by all organisations of the process.
	Log *Log
	// Turns bound the attempts under way. They are shared by all organisations of the process, and by all Receivers of one; nil: its own.
	Turns *Turns
	// Factories by config.Kind.Name, besides alertmanager and signed_webhook, which are known.
	Factories map[string]Factory
	// Kinds are all of ours that a configuration may have: their secrets are kept out of errors.
	Kinds []config.Kind
	// Email makes what sends mail; nil: a configuration with email_configs is refused.
	Email EmailFactory
	// ExternalURL of the organisation's Alertmanager, for what Test sends; nil: http://localhost.
	ExternalURL *url.URL
	// Files lets a configuration name files of this machine: it is the operator's own.
	Files bool
	// CABundle says that the environment has AWS_CA_BUNDLE, by which the AWS SDK makes connections past Dial: there is no SNS then.
	CABundle bool
	// AttemptTimeout bounds an attempt; 0: 10 s.
	AttemptTimeout time.Duration
	// Logger is the process's; nil: none.
	Logger *slog.Logger
}

// Receivers builds the integrations of one organisation. Safe for concurrent use.
type Receivers struct {
	o Options

	mu      sync.Mutex
	resends map[string]*resend // by receiver, of what was built last
}

// New returns the Receivers of an organisation.
func New(o Options) (*Receivers, error) {
	if o.Dial == nil || o.Client == nil || o.Log == nil {
		return nil, errors.New("receivers need a dialer, an HTTP client and a log")
	}
	if o.AttemptTimeout == 0 {
		o.AttemptTimeout = 10 * time.Second
	}
	if o.Turns == nil {
		o.Turns = NewTurns()
	}
	if o.ExternalURL == nil {
		o.ExternalURL = &url.URL{Scheme: "http", Host: "localhost"}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Receivers{o: o}, nil
}

// Build makes the integrations of every receiver of the configuration, by the receiver's name. It does no I/O; the error names
// every receiver and entry that cannot be. What it returns is meant to be used: Stage serves those of the last Build.
func (r *Receivers) Build(c *config.Config, t *template.Template) (map[string][]notify.Integration, error) {
	out := make(map[string][]notify.Integration, len(c.Alertmanager.Receivers))
	resends := map[string]*resend{}
	var errs []error
	for _, receiver := range c.Alertmanager.Receivers {
		list, err := r.receiver(c, receiver, t)
		if err != nil {
			errs = append(errs, fmt.Errorf("receiver %q: %w", receiver.Name, err))
			continue
		}
		out[receiver.Name] = integrations(list)
		if again := newResend(list); again != nil {
			resends[receiver.Name] = again
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	r.mu.Lock()
	r.resends = resends
	r.mu.Unlock()
	return out, nil
}
