package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/instance"
	alertmail "github.com/tokiflow/tokiflow/alerting/mail"
	"github.com/tokiflow/tokiflow/alerting/manager"
	"github.com/tokiflow/tokiflow/core/alert"
)

// readFile puts the configuration of a single-user install in force, where there is one.
func (r *routing) readFile() error {
	name := r.app.o.Alerting.ConfigFile
	if name == "" {
		return nil
	}
	c, err := config.LoadFile(name, r.options)
	if err != nil {
		return fmt.Errorf("--alertmanager-config: %w", err)
	}
	r.configs.SetFile(c)
	return nil
}

// followFile reads the file again whenever it is asked to. One with a mistake changes nothing.
func (r *routing) followFile(ctx context.Context, changed func()) {
	good := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "tokiflow_alerting_config_file_good", Help: "Whether --alertmanager-config was read when it was asked for last; 0: what was read before is in force.",
	})
	r.app.registry.MustRegister(good)
	good.Set(1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.app.o.Reload:
		}
		if err := r.readFile(); err != nil {
			r.app.log.Error("the configuration of alerting stays as it is", "error", err)
			good.Set(0)
			continue
		}
		good.Set(1)
		changed()
		r.app.log.Info("the configuration of alerting was read again", "file", r.app.o.Alerting.ConfigFile)
	}
}

// mailRoutes are the pages that mails link to.
type mailRoutes struct{ m *alertmail.Mailer }

func (m mailRoutes) Routes(r chi.Router) { m.m.Routes(r) }

// follower is a part of an instance that follows the organisation's alerts by itself.
type follower interface {
	Update(ctx context.Context, s alert.State) error
}

// running is an instance with those of its parts that follow.
type running struct {
	*instance.Instance
	followers []follower
}

// startInstance starts one whose parts know what it begins with.
func startInstance(ctx context.Context, o instance.Options, c *config.Config, s alert.State) (manager.Running, error) {
	r := &running{}
	for _, m := range o.Muters {
		if f, ok := m.(follower); ok {
			r.followers = append(r.followers, f)
		}
	}
	if err := r.tell(ctx, s); err != nil {
		return nil, err
	}
	i, err := instance.Start(ctx, o, c, s)
	r.Instance = i
	return r, err
}

// Update takes over what changed: the parts first, so that none of it is told that they hold back.
func (r *running) Update(ctx context.Context, s alert.State) error {
	return errors.Join(r.tell(ctx, s), r.Instance.Update(ctx, s))
}

func (r *running) tell(ctx context.Context, s alert.State) error {
	var errs []error
	for _, f := range r.followers {
		errs = append(errs, f.Update(ctx, s))
	}
	return errors.Join(errs...)
}
