// Package slack is the way of alerts into Slack and back: the app is installed by OAuth into an organisation's workspace, alerts
// become messages there, one thread for each incident, and their buttons and the command /pulse act on what they are about.
//
// What is said in Slack is said to everybody in the channel, and whoever can read a message may press its buttons. A request of
// Slack is believed because of its signature alone; which organisation it is for is decided by the workspace that Slack names
// in it, never by what a message carries.
package slack

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// Workspaces keeps which workspace an organisation has. A missing one is a fault of code not_found.
type Workspaces interface {
	PutSlackWorkspace(ctx context.Context, org tenant.OrgID, w alert.Workspace) error
	SlackWorkspace(ctx context.Context, org tenant.OrgID) (alert.Workspace, error)
	DeleteSlackWorkspace(ctx context.Context, org tenant.OrgID) (alert.Workspace, error)
	// SlackTeam has the workspace once for each organisation that it serves.
	SlackTeam(ctx context.Context, team string) ([]alert.Workspace, error)
	RevokeSlackWorkspace(ctx context.Context, org tenant.OrgID, installedAt time.Time, reason string) (first bool, err error)
	RevokeSlackTeam(ctx context.Context, team string, before time.Time, reason string) (int, error)
	UseSlackChannel(ctx context.Context, org tenant.OrgID, channel string) error
	SlackChannelUsed(ctx context.Context, org tenant.OrgID, channel string) (bool, error)
}

// Once tells the first time from every other, in all processes together.
type Once interface {
	PutSlackState(ctx context.Context, org tenant.OrgID, nonce uuid.UUID, expires time.Time) error
	TakeSlackState(ctx context.Context, org tenant.OrgID, nonce uuid.UUID) (ok bool, err error)
	SeeSlackRequest(ctx context.Context, sum [sha256.Size]byte, expires time.Time) (first bool, err error)
}

// Alerts are the organisation's that fire.
type Alerts interface {
	RoutedAlert(ctx context.Context, org tenant.OrgID, fingerprint string) (alert.Routed, error)
	RoutedByIncident(ctx context.Context, org tenant.OrgID, incident uuid.UUID) (alert.Routed, error)
	// AcknowledgeAlert acknowledges its incident too. Again it changes nothing.
	AcknowledgeAlert(ctx context.Context, org tenant.OrgID, fingerprint, by string, at time.Time) (alert.Routed, error)
	SaveSilences(ctx context.Context, org tenant.OrgID, silences []alert.StoredSilence) error
}

// Incidents lists incidents, and resolves one as the API does.
type Incidents interface {
	Incidents(ctx context.Context, org tenant.OrgID, f inventory.IncidentFilter) ([]inventory.Incident, error)
	ResolveIncident(ctx context.Context, org tenant.OrgID, id uuid.UUID, by string) error
}

// Monitors reads monitors and pauses them, and takes the change to the log.
type Monitors interface {
	Organisation(ctx context.Context, org tenant.OrgID) (inventory.Organisation, error)
	Monitors(ctx context.Context, org tenant.OrgID, f inventory.MonitorFilter) ([]inventory.Monitor, error)
	SetPaused(ctx context.Context, org tenant.OrgID, id uuid.UUID, paused bool) (inventory.Monitor, error)
}

// Runs reads the finished runs of a monitor, the youngest first.
type Runs interface {
	Runs(ctx context.Context, org tenant.OrgID, monitor uuid.UUID, p history.Page) ([]history.Run, error)
}

// Box seals tokens and opens them again with the same about.
type Box interface {
	Seal(plain, about []byte) ([]byte, error)
	Open(sealed, about []byte) ([]byte, error)
}

// Options of an App. Everything up to Runs is required.
type Options struct {
	ClientID      string // of the Slack app
	ClientSecret  string
	SigningSecret string
	BaseURL       string // under which Slack and people reach this server, as https://tokiflow.example.com
	Workspaces    Workspaces
	Once          Once
	Alerts        Alerts
	Incidents     Incidents
	Monitors      Monitors
	Keys          *auth.Keys
	Box           Box
	Client        *http.Client // reaches public addresses only and follows no redirects

	Runs         Runs                  // nil: messages show no runs
	Logger       *slog.Logger          // nil: none
	Registerer   prometheus.Registerer // nil: no metrics
	Clock        func() time.Time      // nil: time.Now
	APIURL       string                // "": Slack's
	AuthorizeURL string                // "": Slack's
}

// The defaults of Slack's own addresses.
const (
	slackAPI       = "https://slack.com/api/"
	slackAuthorize = "https://slack.com/oauth/v2/authorize"
	slackHooks     = "hooks.slack.com" // the host of every response_url
)

func (o *Options) validate() error {
	switch {
	case o.ClientID == "" || o.ClientSecret == "" || o.SigningSecret == "":
		return errors.New("the Slack app needs its client id, client secret and signing secret")
	case o.BaseURL == "":
		return errors.New("the Slack app needs the base URL under which Slack reaches this server")
	case o.Workspaces == nil || o.Once == nil || o.Alerts == nil || o.Incidents == nil || o.Monitors == nil:
		return errors.New("the Slack app needs its stores")
	case o.Keys == nil || o.Box == nil || o.Client == nil:
		return errors.New("the Slack app needs keys, a box for secrets and an HTTP client")
	}
	o.BaseURL = strings.TrimRight(o.BaseURL, "/")
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.APIURL == "" {
		o.APIURL = slackAPI
	}
	if o.AuthorizeURL == "" {
		o.AuthorizeURL = slackAuthorize
	}
	return nil
}

// App is the Slack app of this installation. Safe for concurrent use. Close ends what it works on.
type App struct {
	o       Options
	http    *limitedClient
	metrics *metrics
	work    *work
	memory  *memory
}

// New makes the app.
func New(o Options) (*App, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	return &App{o: o, http: newLimitedClient(o.Client, o.Clock, m), metrics: m, work: newWork(), memory: newMemory()}, nil
}

// Routes adds what Slack and browsers ask for to r, all under /api/slack.
func (a *App) Routes(r chi.Router) {
	r.Get("/api/slack/install", a.install)
	r.Get("/api/slack/callback", a.callback)
	r.Post("/api/slack/actions", a.signed(a.actions))
	r.Post("/api/slack/commands", a.signed(a.commands))
	r.Post("/api/slack/events", a.signed(a.events))
}

// Close waits until what was begun is done, or the context ends it. Nothing is begun after that.
func (a *App) Close(ctx context.Context) error { return a.work.close(ctx) }
