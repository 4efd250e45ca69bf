package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/tokiflow/tokiflow/alerting"
	"github.com/tokiflow/tokiflow/alerting/webhook"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

func (a *App) startRelay() error {
	client := safehttp.New(safehttp.Options{AllowPrivate: a.o.AllowPrivateWebhooks})
	var receivers []alerting.Receiver
	for i, address := range a.o.AlertWebhooks {
		if err := checkWebhook(address, a.o.AllowPrivateWebhooks); err != nil {
			return fmt.Errorf("--alert-webhook, number %d: %w", i+1, err)
		}
		r, err := webhook.New(webhook.Config{
			URL: address, Secret: a.o.AlertWebhookSecret, Client: client, UserAgent: "tokiflow/" + a.o.Version,
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
	a.onStop("webhook connections", func(context.Context) error { client.CloseIdleConnections(); return nil })
	a.background("relay", relay.Run)
	return nil
}

// checkWebhook refuses, at the start rather than at every attempt, an address that may not be reached. The address itself
// may hold secrets and is in no error.
func checkWebhook(address string, allowPrivate bool) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("it is not a URL")
	}
	return safehttp.CheckURL(u, allowPrivate)
}
