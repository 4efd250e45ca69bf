// Package discord posts to channels of Discord that somebody connected: OAuth with the scope webhook.incoming, by which Discord makes a
// webhook in the channel that the person picks, and tells us its URL. A configuration names the connection; the URL stays here.
package discord

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// Name of the kind.
const Name = "discord_app"

// Store keeps connections, and those that were begun. What is not there is a fault of code not_found.
type Store interface {
	DiscordConnection(ctx context.Context, org tenant.OrgID, name string) (alert.DiscordConnection, error)
	DiscordConnections(ctx context.Context, org tenant.OrgID) ([]alert.DiscordConnection, error)
	PutDiscordConnection(ctx context.Context, org tenant.OrgID, c alert.DiscordConnection) error
	DeleteDiscordConnection(ctx context.Context, org tenant.OrgID, name string) error
	AddDiscordState(ctx context.Context, org tenant.OrgID, s alert.DiscordState, now time.Time) error
	TakeDiscordState(ctx context.Context, org tenant.OrgID, sum, browser []byte) (alert.DiscordState, error)
}

// Box keeps the webhooks' URLs unreadable in the store.
type Box interface {
	Seal(plain, about []byte) ([]byte, error)
	Open(sealed, about []byte) ([]byte, error)
}

// Options of an App. Store, Box and Client are required; without ClientID nothing can be connected, but what is goes on.
type Options struct {
	Store  Store
	Box    Box
	Client *http.Client // decides which addresses may be reached, and follows no redirects
	Keys   *auth.Keys   // required by Routes
	// ClientID and ClientSecret of the application at Discord.
	ClientID, ClientSecret string
	// PublicURL is where browsers reach this server: https://tokiflow.example.com. PublicURL/api/discord/callback is to be registered at
	// Discord as a redirect.
	PublicURL string
	// API is Discord's; empty: https://discord.com. Webhooks elsewhere are refused.
	API    string
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: none
}

// App is this installation's application at Discord. Safe for concurrent use.
type App struct{ o Options }

// New makes an App. The error says which option is wrong.
func New(o Options) (*App, error) {
	if o.Store == nil || o.Box == nil || o.Client == nil {
		return nil, errors.New("Discord needs a store, a secret key and an HTTP client") //nolint:staticcheck // a name
	}
	if o.API == "" {
		o.API = "https://discord.com"
	}
	o.API = strings.TrimRight(o.API, "/")
	o.PublicURL = strings.TrimRight(o.PublicURL, "/")
	if (o.ClientID == "") != (o.ClientSecret == "") {
		return nil, errors.New("Discord's client id and client secret go together") //nolint:staticcheck // a name
	}
	if o.ClientID != "" && !strings.HasPrefix(o.PublicURL, "http") {
		return nil, errors.New("Discord needs to know where browsers reach this server") //nolint:staticcheck // a name
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &App{o: o}, nil
}

// entry is what can be said of a connection.
type entry struct {
	SendResolved *bool  `yaml:"send_resolved"`
	Connection   string `yaml:"connection"`
	Mention      string `yaml:"mention"`
}

// Kind describes discord_app_configs.
func Kind() config.Kind {
	return config.Kind{Name: Name, Key: "discord_app_configs", Check: func(n *yaml.Node, _ bool) error {
		_, err := read(n)
		return err
	}}
}

func read(n *yaml.Node) (entry, error) {
	var e entry
	if err := outgoing.Decode(n, &e); err != nil {
		return e, err
	}
	if !validName(e.Connection) {
		return e, errors.New("connection: must be the name of a connection: 1 to 63 of a-z, 0-9 and -, not - at an end")
	}
	if !regexp.MustCompile(`^(@here|@everyone|[0-9]{5,25})?$`).MatchString(e.Mention) {
		return e, errors.New("mention: must be @here, @everyone or the id of a role")
	}
	return e, nil
}

func validName(s string) bool {
	return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`).MatchString(s)
}

// about is what a sealed URL belongs to.
func about(org tenant.OrgID, name string) []byte {
	return []byte("discord connection " + uuid.UUID(org.UUID).String() + " " + name)
}

// Factory makes an organisation's notifiers.
func (a *App) Factory(org tenant.OrgID) func(e config.Entry, t *template.Template) (notify.Notifier, error) {
	return func(e config.Entry, t *template.Template) (notify.Notifier, error) {
		c, err := read(e.Node)
		if err != nil {
			return nil, err
		}
		return &notifier{app: a, org: org, entry: c, tmpl: t}, nil
	}
}

// webhook returns the URL of a connection.
func (a *App) webhook(ctx context.Context, org tenant.OrgID, name string) (string, error) {
	c, err := a.o.Store.DiscordConnection(ctx, org, name)
	if err != nil {
		return "", fmt.Errorf("the connection %q to Discord: %w", name, err)
	}
	plain, err := a.o.Box.Open(c.Sealed, about(org, name))
	if err != nil {
		return "", fmt.Errorf("the connection %q to Discord cannot be read: %w", name, err)
	}
	return string(plain), nil
}

// ours reports whether a webhook's URL is one of Discord's: what came in an answer is not posted to blindly.
func (a *App) ours(raw string) bool {
	u, err := url.Parse(raw)
	api, errAPI := url.Parse(a.o.API)
	if err != nil || errAPI != nil || u.User != nil || u.Fragment != "" || !strings.HasPrefix(u.Path, "/api/webhooks/") {
		return false
	}
	return u.Scheme == api.Scheme && (u.Host == api.Host || (api.Host == "discord.com" && u.Host == "discordapp.com"))
}
