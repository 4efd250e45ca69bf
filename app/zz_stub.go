package app

import (
	"context"
	"errors"
	"log/slog"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

type embeddedStub struct{}

func (embeddedStub) Stop(context.Context) error { return nil }
func (embeddedStub) URL() string                { return "" }

func startEmbedded(context.Context, *Options) (embeddedStub, error) { return embeddedStub{}, errors.New("not yet") }
func openKafka(context.Context, Kafka, *slog.Logger) (eventlog.Log, error) {
	return nil, errors.New("not yet")
}
