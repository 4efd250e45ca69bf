package instance

import (
	"context"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/alert"
)

// Metrics count what goes on in all instances of a process.
type Metrics struct{}

// NewMetrics makes and registers them.
func NewMetrics(prometheus.Registerer) *Metrics { return &Metrics{} }

// Instance is one organisation's Alertmanager while it runs. Safe for concurrent use.
type Instance struct{}

// Start wires an instance from the stored state and lets it run. ctx bounds the start only: Stop ends it.
func Start(ctx context.Context, o Options, c *config.Config, s alert.State) (*Instance, error) {
	return nil, errors.New("to be built")
}

// Update takes in alerts and silences that changed. What it knows already, by version, changes nothing.
func (i *Instance) Update(ctx context.Context, s alert.State) error { return nil }

// Apply swaps the configuration. On an error the one before stays in force.
func (i *Instance) Apply(c *config.Config) error { return nil }

// Handler serves Alertmanager's API v2 below /api/v2, /-/healthy and /-/ready.
func (i *Instance) Handler() http.Handler { return http.NotFoundHandler() }

// Busy reports whether it has alerts, or something still to be saved.
func (i *Instance) Busy() bool { return false }

// Stop ends it within 5 s: what is being delivered may end, what was delivered is saved once more. It may be called twice.
func (i *Instance) Stop() {}
