// Package api is the REST interface: monitors and what became of them, incidents, figures and the preview of a schedule,
// as JSON under /api/v1, described by the OpenAPI document that is made from the same code.
//
// Every request acts for the organisation of its API key, which each handler gets as an argument. Another organisation's
// id is not found.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// Organisations reads the organisation with its projects.
type Organisations interface {
	Organisation(ctx context.Context, org tenant.OrgID) (inventory.Organisation, error)
}

// MonitorReader reads monitors.
type MonitorReader interface {
	Monitor(ctx context.Context, org tenant.OrgID, id uuid.UUID) (inventory.Monitor, error)
	Monitors(ctx context.Context, org tenant.OrgID, f inventory.MonitorFilter) ([]inventory.Monitor, error)
}

// MonitorWriter changes monitors. Each change also queues its control record.
type MonitorWriter interface {
	CreateMonitor(ctx context.Context, org tenant.OrgID, n inventory.NewMonitor) (inventory.Monitor, error)
	UpdateMonitor(ctx context.Context, org tenant.OrgID, id uuid.UUID, edit func(monitor.Config) (monitor.Config, error)) (inventory.Monitor, error)
	SetPaused(ctx context.Context, org tenant.OrgID, id uuid.UUID, paused bool) (inventory.Monitor, error)
	RotateKey(ctx context.Context, org tenant.OrgID, id uuid.UUID) (inventory.Monitor, error)
	DeleteMonitor(ctx context.Context, org tenant.OrgID, id uuid.UUID) error
}

// Incidents reads and changes incidents. ResolveIncident queues a control record, unless there is nothing to ask.
type Incidents interface {
	Incident(ctx context.Context, org tenant.OrgID, id uuid.UUID) (inventory.Incident, error)
	Incidents(ctx context.Context, org tenant.OrgID, f inventory.IncidentFilter) ([]inventory.Incident, error)
	AcknowledgeIncident(ctx context.Context, org tenant.OrgID, id, by uuid.UUID) (inventory.Incident, error)
	ResolveIncident(ctx context.Context, org tenant.OrgID, id uuid.UUID) (i inventory.Incident, queued bool, err error)
}

// Store is the relational side.
type Store interface {
	auth.Authenticator
	Organisations
	Keys
	MonitorReader
	MonitorWriter
	Incidents
	Rules
	Forwards
	Notifications
	Maintenance
	Dependencies
	Recipients
}

// PingReader reads pings. A history.Key that it did not make is a fault of code invalid.
type PingReader interface {
	Pings(ctx context.Context, org tenant.OrgID, monitor uuid.UUID, p history.Page) ([]history.Ping, error)
	// PingOutput is what was kept of the ping's body; none is a fault of code not_found.
	PingOutput(ctx context.Context, org tenant.OrgID, monitor, ping uuid.UUID) ([]byte, error)
}

// RunReader reads what became of a monitor.
type RunReader interface {
	Runs(ctx context.Context, org tenant.OrgID, monitor uuid.UUID, p history.Page) ([]history.Run, error)
	Transitions(ctx context.Context, org tenant.OrgID, monitor uuid.UUID, p history.Page) ([]history.Transition, error)
}

// StatsReader computes figures.
type StatsReader interface {
	// MonitorStats has an entry for each of the monitors that has any history in the window.
	MonitorStats(ctx context.Context, org tenant.OrgID, w history.Window, monitors ...uuid.UUID) (map[uuid.UUID]history.Stats, error)
	OrganisationStats(ctx context.Context, org tenant.OrgID, w history.Window) (history.Stats, error)
	// MonitorStatsWithout and OrganisationStatsWithout leave out the times given for monitors, in order and without overlap: they count as
	// not observed, and runs that finished and failures that came in them do not count.
	MonitorStatsWithout(ctx context.Context, org tenant.OrgID, w history.Window, without map[uuid.UUID][]history.Window, monitors ...uuid.UUID) (map[uuid.UUID]history.Stats, error)
	OrganisationStatsWithout(ctx context.Context, org tenant.OrgID, w history.Window, without map[uuid.UUID][]history.Window) (history.Stats, error)
}

// History is the time-series side.
type History interface {
	PingReader
	RunReader
	StatsReader
}

// Publisher takes a monitor's queued changes to the log. It is only a matter of time: what it fails to take is taken
// later, by another.
type Publisher interface {
	Publish(ctx context.Context, monitor uuid.UUID) error
}

// Options are what an API needs.
type Options struct {
	Store     Store
	History   History
	Publisher Publisher
	Rules     RuleFormat       // nil: rules can be neither written nor read as YAML
	Secrets   Sealer           // nil: forwards cannot be written
	Slack     Slack            // nil: Slack cannot be connected
	Receivers Receivers        // nil: receivers can be neither listed nor tried
	Alerting  AlertingConfigs  // nil: there is no alerting configuration
	Clock     func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: none
	BaseURL   string           // under which clients reach this server, as https://tokiflow.example.com
	Version   string
	// ResolveWait is how long /resolve waits for the evaluator before it answers 202; 0: 2 s.
	ResolveWait time.Duration
}

// API serves the REST interface. Safe for concurrent use.
type API struct {
	store       Store
	history     History
	publisher   Publisher
	now         func() time.Time
	log         *slog.Logger
	baseURL     string
	version     string
	resolveWait time.Duration
	keys        *auth.Keys
	ruleFormat  RuleFormat
	secrets     Sealer
	slack       Slack
	receivers   Receivers
	alerting    AlertingConfigs
	trials      trials
}

// New makes an API.
func New(o Options) *API {
	a := &API{
		store: o.Store, history: o.History, publisher: o.Publisher, now: o.Clock, log: o.Logger,
		baseURL: strings.TrimRight(o.BaseURL, "/"), version: o.Version, resolveWait: o.ResolveWait, ruleFormat: o.Rules,
		secrets: o.Secrets, slack: o.Slack, receivers: o.Receivers, alerting: o.Alerting,
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.resolveWait == 0 {
		a.resolveWait = 2 * time.Second
	}
	a.keys = auth.NewKeys(o.Store, a.now)
	return a
}

// Routes adds everything under /api/v1 and /api/openapi.json to r. POST /api/v1/pings is described in the document, but
// served by ingest, which adds it to the same router.
func (a *API) Routes(r chi.Router) {
	h := a.describe(humachi.NewAdapter(r))
	document := sync.OnceValues(h.OpenAPI().MarshalJSON)
	r.Get("/api/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		b, err := document()
		if err != nil {
			http.Error(w, "the document cannot be written", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oai.openapi+json;version=3.1")
		_, _ = w.Write(b) // the client may be gone
	})
	r.HandleFunc("/api/v1/*", a.unknownPath(r))
}

// describe registers every operation with the adapter.
func (a *API) describe(adapter huma.Adapter) huma.API {
	c := huma.DefaultConfig("Tokiflow", a.version)
	c.Info.Description = "Watches jobs that must run. Durations are written as Prometheus writes them (90s, 1h30m, 1d), times as RFC 3339 in UTC."
	c.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", "" // the document is served by Routes; there are no other pages
	c.CreateHooks = nil                                   // no $schema in answers
	c.Formats = map[string]huma.Format{
		"application/json": huma.DefaultJSONFormat,
		"json":             huma.DefaultJSONFormat,
		// `curl -d` says so of whatever it sends; without JSON in it the request fails anyway.
		"application/x-www-form-urlencoded": huma.DefaultJSONFormat,
	}
	c.Transformers = []huma.Transformer{plainProblem}
	if a.baseURL != "" {
		c.Servers = []*huma.Server{{URL: a.baseURL}}
	}
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		schemeBearer: {Type: "http", Scheme: "bearer", Description: "An API key: Authorization: Bearer tkf_…"},
		schemeHeader: {Type: "apiKey", In: "header", Name: "X-Api-Key", Description: "The same key in a header of its own."},
	}
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	h := huma.NewAPI(c, adapter)
	a.monitorOperations(h)
	a.historyOperations(h)
	a.statsOperations(h)
	a.incidentOperations(h)
	a.scheduleOperations(h)
	a.organisationOperations(h)
	a.apiKeyOperations(h)
	a.ruleOperations(h)
	a.forwardOperations(h)
	a.maintenanceOperations(h)
	a.dependencyOperations(h)
	a.alertingConfigOperations(h)
	a.slackOperations(h)
	a.notificationOperations(h)
	a.receiverOperations(h)
	a.recipientOperations(h)
	describeBatch(h)
	return h
}

// schemaName is the name of a type in the document: that of the thing, not of the Go type that spells it.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	name = strings.TrimSuffix(name, "View")
	if of, isList := strings.CutPrefix(name, "ListBody"); isList {
		return of + "List"
	}
	switch name {
	case "ErrorModel":
		return "Problem"
	case "ErrorDetail":
		return "ProblemDetail"
	case "ScheduleFields", "AnomalyFields":
		return strings.TrimSuffix(name, "Fields") + "Input"
	}
	return name
}
