package app

import (
	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/discord"
	alertmail "github.com/tokiflow/tokiflow/alerting/mail"
	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/alerting/slack"
	"github.com/tokiflow/tokiflow/alerting/texts"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

// AlertingOptions say what an alerting configuration may hold: in this process, and for who checks one without a server.
func AlertingOptions(allowPrivate bool) config.Options {
	return config.Options{
		Kinds:        append(receivers.Kinds(), slack.Kind(), discord.Kind(), alertmail.Kind()),
		AllowPrivate: allowPrivate, CheckURL: safehttp.CheckURL, DefaultTemplates: append(texts.All(), alertmail.Templates()),
	}
}
