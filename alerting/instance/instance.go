// Package instance is one organisation's Alertmanager: its parts, wired together over a state that stands in PostgreSQL.
package instance

import (
	"context"
	"log/slog"
	"net/url"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Builder makes the integrations of every receiver that a route uses, by the receiver's name.
type Builder func(c *config.Config, t *template.Template) (map[string][]notify.Integration, error)

// Middleware puts a stage around the pipeline.
type Middleware func(next notify.Stage) notify.Stage

// Muter says which alerts are not to be told for now. by is shown as what inhibits the alert. Safe for concurrent use.
type Muter interface {
	Mutes(a *amalert.Alert) (by string, muted bool)
}

// Store keeps what must outlive the process. Safe for concurrent use.
type Store interface {
	// SaveLog writes down what was told, the later entry of a group and receiver over the earlier.
	SaveLog(ctx context.Context, org tenant.OrgID, entries []alert.LogEntry) error
	// SaveSilences raises the organisation's version and stores them under it.
	SaveSilences(ctx context.Context, org tenant.OrgID, silences []alert.StoredSilence) error
	// SaveAlerts does the same with alerts that somebody posted.
	SaveAlerts(ctx context.Context, org tenant.OrgID, alerts []alert.Routed) error
	// RemoveAlerts removes those that were resolved and told, unless they changed since.
	RemoveAlerts(ctx context.Context, org tenant.OrgID, told []alert.Key) error
}

// Options of an Instance. Muters, Stages (outermost first) and Metrics may be nil, the rest is required. The stages come after
// everything that mutes: what is silenced, inhibited or muted never reaches them.
type Options struct {
	Org         tenant.OrgID
	Notify      bool     // false: it shows what is going on in another process, and tells nobody
	ExternalURL *url.URL // of the organisation's Alertmanager, in messages
	Build       Builder
	Muters      []Muter
	Stages      []Middleware
	Store       Store
	Metrics     *Metrics // may be nil
	Logger      *slog.Logger
}
