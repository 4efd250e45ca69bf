package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokiflow/tokiflow/core/schedule"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func (a *API) scheduleOperations(h huma.API) {
	operation(a, h, huma.Operation{
		OperationID: "preview-schedule", Method: http.MethodGet, Path: "/api/v1/schedule/next", Tags: []string{"Schedule"},
		Summary: "Preview a schedule", Description: "The next due instants of a cron expression or an interval, without a monitor.",
	}, tenant.ScopeRead, a.scheduleNext)
}

type scheduleInput struct {
	Cron     string   `query:"cron" maxLength:"500" doc:"Cron expression; or give interval." example:"0 3 * * *"`
	Timezone string   `query:"timezone" maxLength:"100" doc:"IANA time zone of cron; UTC where it is left out." example:"Europe/Berlin"`
	Interval duration `query:"interval" doc:"Interval; or give cron."`
	From     instant  `query:"from" format:"date-time" doc:"RFC 3339; due instants after it. Now, where it is left out." example:"2026-01-01T00:00:00Z"`
	N        int      `query:"n" minimum:"1" maximum:"1000" default:"5" doc:"How many."`
}

type scheduleOutput struct {
	Body previewView
}

type previewView struct {
	Items []time.Time `json:"items" nullable:"false" doc:"Due instants in order; fewer than n where there are no more."`
}

func (a *API) scheduleNext(_ context.Context, _ tenant.Identity, in *scheduleInput) (*scheduleOutput, error) {
	v := violations{}
	spec := schedule.Spec{Cron: in.Cron, Timezone: in.Timezone}
	if in.Interval != "" {
		v.duration("query.interval", &in.Interval, &spec.Interval)
	}
	s := v.schedule("query", spec)
	if err := v.err(); err != nil {
		return nil, err
	}
	out := &scheduleOutput{}
	out.Body.Items = schedule.NextN(s, in.From.or(a.now().UTC()), in.N)
	if out.Body.Items == nil {
		out.Body.Items = []time.Time{}
	}
	return out, nil
}
