package instance_test

import (
	"context"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// slowPhone takes its time, and what it is told counts at the end of it only.
type slowPhone struct {
	*phone
	takes time.Duration
}

func (p *slowPhone) Notify(ctx context.Context, alerts ...*amalert.Alert) (bool, error) {
	select {
	case <-time.After(p.takes):
	case <-ctx.Done():
		return true, ctx.Err()
	}
	return p.phone.Notify(ctx, alerts...)
}

func (p *slowPhone) build(*config.Config, *template.Template) (map[string][]notify.Integration, error) {
	return map[string][]notify.Integration{"team": {notify.NewIntegration(p, p, "phone", 0, "team")}}, nil
}
