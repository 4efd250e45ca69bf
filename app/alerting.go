package app

import (
	"fmt"

	"github.com/tokiflow/tokiflow/alerting"
	"github.com/tokiflow/tokiflow/alerting/webhook"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

func (a *App) startRelay() error {
	client := safehttp.New(safehttp.Options{AllowPrivate: a.o.AllowPrivateWebhooks})
	var receivers []alerting.Receiver
	for i, url := range a.o.AlertWebhooks {
		r, err := webhook.New(webhook.Config{
			URL: url, Secret: a.o.AlertWebhookSecret, Client: client, UserAgent: "tokiflow/" + a.o.Version,
		})
		if err != nil {
			return fmt.Errorf("--alert-webhook, number %d: %w", i+1, err)
		}
		if !r.Signed() {
			a.log.Warn("webhooks are sent unsigned: set --alert-webhook-secret so that receivers can tell them from forgeries",
				"receiver", r.Name())
		}
		receivers = append(receivers, r)
	}
	relay, err := alerting.NewRelay(alerting.Options{
		Store: a.store, Receivers: receivers, Listen: a.store.ListenOutbox, Logger: a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.background("relay", relay.Run)
	return nil
}
