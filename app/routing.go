package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	netmail "net/mail"
	"net/url"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/discord"
	"github.com/tokiflow/tokiflow/alerting/feed"
	"github.com/tokiflow/tokiflow/alerting/guard"
	"github.com/tokiflow/tokiflow/alerting/instance"
	alertmail "github.com/tokiflow/tokiflow/alerting/mail"
	"github.com/tokiflow/tokiflow/alerting/manager"
	"github.com/tokiflow/tokiflow/alerting/quiet"
	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/alerting/slack"
	"github.com/tokiflow/tokiflow/core/alert"
	coremail "github.com/tokiflow/tokiflow/core/mail"
	corequiet "github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/mail"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/safehttp"
	"github.com/tokiflow/tokiflow/tsdb"
)

// routing is what routes alerts in this process: to the receivers of each organisation's configuration.
type routing struct {
	app      *App
	external *url.URL // of every organisation's Alertmanager
	client   *http.Client
	dial     receivers.DialFunc
	options  config.Options
	configs  *config.Store
	log      *receivers.Log
	turns    *receivers.Turns
	mailer   *alertmail.Mailer
	slack    *slack.App   // nil: this installation has none
	discord  *discord.App // nil: this installation has none
	guard    *guard.Guard
	metrics  *instance.Metrics
}

// startRouting makes what routes alerts, in processes that alert or answer the API.
func (a *App) startRouting() error {
	config.UTF8()
	safe := safehttp.Options{AllowPrivate: a.o.AllowPrivateWebhooks}
	client := safehttp.New(safe)
	a.onStop("connections to receivers", func(context.Context) error { client.CloseIdleConnections(); return nil })
	external, err := url.Parse(a.o.BaseURL + manager.Prefix)
	if err != nil {
		return err
	}
	r := &routing{
		app: a, external: external, client: client, dial: safehttp.DialContext(safe), metrics: instance.NewMetrics(a.registry),
		options: AlertingOptions(a.o.AllowPrivateWebhooks), turns: receivers.NewTurns(),
	}
	r.configs = config.NewStore(a.store, a.secrets, r.options)
	if err := r.readFile(); err != nil {
		return err
	}
	a.routing = r
	for _, start := range []func() error{r.startLog, r.startMail, r.startSlack, r.startDiscord, r.startGuard, r.startManager} {
		if err := start(); err != nil {
			return err
		}
	}
	if _, err := r.receivers(tenant.OrgID{}); err != nil {
		return err
	}
	if !a.o.has(RoleAlert) {
		return nil
	}
	f, err := feed.New(feed.Options{
		Store: a.store, Listen: a.store.ListenOutbox, BaseURL: a.o.BaseURL, Logger: a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.background("feeder of alerts", f.Run)
	w := quiet.NewWindows(quiet.WindowOptions{Windows: a.store, Silences: a.store, Logger: a.log})
	a.background("maintenance windows", w.Run)
	return nil
}

func (r *routing) startLog() (err error) {
	r.log, err = receivers.NewLog(receivers.LogOptions{Store: r.app.store, Registerer: r.app.registry, Logger: r.app.log})
	if err == nil {
		r.app.background("log of notifications", r.log.Run)
	}
	return err
}

// startMail makes what sends e-mail. An organisation's own servers are reached as its other receivers are; the
// installation's own may be anywhere.
func (r *routing) startMail() error {
	a := r.app
	theirs := &mail.Senders{Dial: mail.DialFunc(r.dial), Client: r.client, Refused: func(err error) bool { return errors.Is(err, safehttp.ErrForbidden) }}
	ours := &mail.Senders{Dial: safehttp.DialContext(safehttp.Options{AllowPrivate: true}), Client: r.client}
	o := alertmail.Options{
		Store: a.store, Log: a.store, Sealer: a.secrets, SMTP: theirs.SMTP, Resend: theirs.Resend, Config: r.configs.Load,
		Trusted: a.o.Alerting.TrustRecipients || a.o.Alerting.ConfigFile != "", BaseURL: a.o.BaseURL, Logger: a.log, Registerer: a.registry,
	}
	if from := a.o.Alerting.SMTPFrom; from != "" {
		address, err := netmail.ParseAddress(from)
		if err != nil {
			return fmt.Errorf("--smtp-from: %w", err)
		}
		o.From = coremail.Address{Name: address.Name, Address: address.Address}
	}
	switch {
	case a.o.Alerting.SMTPURL != "":
		server, err := mail.ParseURL(a.o.Alerting.SMTPURL)
		if err != nil {
			return fmt.Errorf("--smtp-url: %w", err)
		}
		if o.Sender, err = ours.SMTP(server); err != nil {
			return fmt.Errorf("--smtp-url: %w", err)
		}
	case a.o.Alerting.ResendAPIKey != "":
		o.Sender = ours.Resend(a.o.Alerting.ResendAPIKey)
	}
	m, err := alertmail.New(o)
	if err != nil {
		return err
	}
	r.mailer = m
	if a.o.has(RoleAlert) {
		a.background("mails held back", m.Run)
	}
	return nil
}

func (r *routing) startSlack() error {
	a := r.app
	if a.o.Alerting.SlackClientID == "" {
		return nil
	}
	s, err := slack.New(slack.Options{
		ClientID: a.o.Alerting.SlackClientID, ClientSecret: a.o.Alerting.SlackClientSecret,
		SigningSecret: a.o.Alerting.SlackSigningSecret, BaseURL: a.o.BaseURL,
		Workspaces: a.store, Once: a.store, Alerts: a.store, Incidents: hands{a}, Monitors: hands{a},
		Keys: a.keys, Box: a.secrets, Client: r.client, Runs: tsdb.NewReader(a.pool), Logger: a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	r.slack = s
	a.onStop("Slack", s.Close)
	return nil
}

func (r *routing) startDiscord() error {
	a := r.app
	if a.o.Alerting.DiscordClientID == "" {
		return nil
	}
	d, err := discord.New(discord.Options{
		Store: a.store, Box: a.secrets, Client: r.client, Keys: a.keys, ClientID: a.o.Alerting.DiscordClientID,
		ClientSecret: a.o.Alerting.DiscordClientSecret, PublicURL: a.o.BaseURL, Logger: a.log,
	})
	r.discord = d
	return err
}

func (r *routing) startGuard() error {
	a := r.app
	g, err := guard.New(guard.Options{
		Store: a.store, Judge: a.o.has(RoleAlert), Hold: a.o.Alerting.GuardHold, Logger: a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	r.guard = g
	a.background("guard of the installation", g.Run)
	return nil
}

func (r *routing) startManager() error {
	a := r.app
	o := manager.Options{
		Store: a.store, Listen: a.store.ListenAlerting, Config: r.configs.Load, Instance: r.instance, Start: startInstance,
		Keys: a.keys, Alert: a.o.has(RoleAlert), Logger: a.log, Registerer: a.registry,
	}
	if o.Alert {
		locks := pg.NewLocks(a.pool, a.log)
		a.onStop("locks", func(context.Context) error { locks.Close(); return nil })
		o.Locks = locks
	}
	m, err := manager.New(o)
	if err != nil {
		return err
	}
	a.background("organisations' Alertmanagers", m.Run)
	if a.o.Alerting.ConfigFile != "" {
		a.background("the file of alerting", func(ctx context.Context) error { r.followFile(ctx, m.Reload); return nil })
	}
	if !a.o.has(RoleRead) {
		return nil
	}
	a.routers = append(a.routers, m, mailRoutes{r.mailer})
	if r.slack != nil {
		a.routers = append(a.routers, r.slack)
	}
	if r.discord != nil {
		a.routers = append(a.routers, r.discord)
	}
	return nil
}

// instance is what an organisation's Alertmanager is made of.
func (r *routing) instance(org tenant.OrgID) instance.Options {
	a := r.app
	o := instance.Options{
		Org: org, ExternalURL: r.external, Store: a.store, Metrics: r.metrics, Logger: a.log,
		Muters: []instance.Muter{quiet.NewDependencies(org, a.store, nil), r.guard},
	}
	if out, err := r.receivers(org); err == nil { // startRouting has seen that it is: nothing of it depends on the organisation
		o.Build, o.Stages = out.Build, []instance.Middleware{out.Stage}
	}
	if limit := a.o.Alerting.StormGroups; limit > 0 {
		o.Teller = func(p instance.Pipeline) instance.Teller {
			return quiet.NewStorms(quiet.StormOptions{Org: org, Rules: corequiet.StormRules{Limit: limit}, Logger: a.log},
				quiet.Pipeline{Next: p.Next, Whole: p.Whole, Log: p.Log, Integrations: p.Integrations})
		}
	}
	return o
}

// receivers makes the integrations of an organisation's configuration.
func (r *routing) receivers(org tenant.OrgID) (*receivers.Receivers, error) {
	return receivers.New(receivers.Options{
		Org: org, Dial: r.dial, Client: r.client, Log: r.log, Turns: r.turns, Kinds: r.options.Kinds, Factories: r.factories(org),
		Email: r.mailer.Email(org), ExternalURL: r.external, Files: r.app.o.Alerting.ConfigFile != "", CABundle: r.app.o.Alerting.CABundle, Logger: r.app.log,
	})
}

func (r *routing) factories(org tenant.OrgID) map[string]receivers.Factory {
	f := map[string]receivers.Factory{
		alertmail.Kind().Name: r.mailer.Resend(org),
		slack.KindName: receivers.Unavailable("this installation has no Slack app: whoever runs it gives --slack-client-id, " +
			"--slack-client-secret and --slack-signing-secret"),
		discord.Name: receivers.Unavailable("this installation has no Discord application: whoever runs it gives --discord-client-id and " +
			"--discord-client-secret"),
	}
	if r.slack != nil {
		f[slack.KindName] = r.slack.Factory(org)
	}
	if r.discord != nil {
		f[discord.Name] = r.discord.Factory(org)
	}
	return f
}

// Receivers lists those of an organisation's configuration.
func (r *routing) Receivers(ctx context.Context, org tenant.OrgID) ([]alert.Receiver, error) {
	c, _, err := r.configs.Load(ctx, org)
	if err != nil {
		return nil, err
	}
	return receivers.List(c), nil
}

// TestReceiver sends a test alert to one of them.
func (r *routing) TestReceiver(ctx context.Context, org tenant.OrgID, name string) ([]alert.Notification, error) {
	c, _, err := r.configs.Load(ctx, org)
	if err != nil {
		return nil, err
	}
	out, err := r.receivers(org)
	if err != nil {
		return nil, err
	}
	return out.Test(ctx, c, name)
}
