package app

import (
	"context"
	"errors"
)

type embeddedStub struct{}

func (embeddedStub) Stop(context.Context) error { return nil }
func (embeddedStub) URL() string                { return "" }

func startEmbedded(context.Context, *Options) (embeddedStub, error) {
	return embeddedStub{}, errors.New("not yet")
}
