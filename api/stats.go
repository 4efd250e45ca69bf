package api

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Stats are the figures of a window. A figure without a value is null.
type Stats struct {
	From        time.Time `json:"from"`
	To          time.Time `json:"to" doc:"As asked for, but now at most."`
	UpSeconds   float64   `json:"up_seconds"`
	DownSeconds float64   `json:"down_seconds"`
	Uptime      *float64  `json:"uptime" doc:"up / (up + down), 0 to 1. Time that could not be observed, or in which the monitor was new or paused, is in neither."`
	Failures    int64     `json:"failures" doc:"Changes to down."`
	Recoveries  int64     `json:"recoveries" doc:"Changes from down to up."`
	MTBFSeconds *float64  `json:"mtbf_seconds" doc:"Mean time between failures."`
	MTTRSeconds *float64  `json:"mttr_seconds" doc:"Mean time to recovery."`
	HealthScore *float64  `json:"health_score" doc:"0 to 100."`

	Runs     runCounts        `json:"runs"`
	Duration distributionView `json:"duration_seconds"`
	Lateness distributionView `json:"lateness_seconds"`
}

type runCounts struct {
	Total     int64 `json:"total"`
	Success   int64 `json:"success"`
	Fail      int64 `json:"fail"`
	Missed    int64 `json:"missed"`
	Abandoned int64 `json:"abandoned"`
	Unknown   int64 `json:"unknown"`
}

type distributionView struct {
	Count  int64    `json:"count"`
	Mean   *float64 `json:"mean"`
	Stddev *float64 `json:"stddev" doc:"Of the sample."`
	Min    *float64 `json:"min"`
	Max    *float64 `json:"max"`
	P50    *float64 `json:"p50"`
	P95    *float64 `json:"p95"`
	P99    *float64 `json:"p99"`
}

func viewStats(w history.Window, s history.Stats) Stats {
	v := Stats{
		From: w.From, To: w.To, UpSeconds: finite(s.UpSeconds), DownSeconds: finite(s.DownSeconds), Uptime: finiteOrNull(s.Uptime),
		Failures: s.Failures, Recoveries: s.Recoveries,
		MTBFSeconds: finiteOrNull(s.MTBFSeconds), MTTRSeconds: finiteOrNull(s.MTTRSeconds), HealthScore: finiteOrNull(s.HealthScore),
		Runs: runCounts{
			Success: s.Runs[monitor.Succeeded], Fail: s.Runs[monitor.Failed], Missed: s.Runs[monitor.Missed],
			Abandoned: s.Runs[monitor.Abandoned], Unknown: s.Runs[monitor.Unknown],
		},
		Duration: viewDistribution(s.Duration), Lateness: viewDistribution(s.Lateness),
	}
	for _, n := range s.Runs {
		v.Runs.Total += n
	}
	return v
}

func viewDistribution(d *history.Distribution) distributionView {
	if d == nil || d.Count == 0 {
		return distributionView{}
	}
	return distributionView{
		Count: d.Count, Mean: finiteOrNull(&d.Mean), Stddev: finiteOrNull(&d.Stddev), Min: finiteOrNull(&d.Min), Max: finiteOrNull(&d.Max),
		P50: finiteOrNull(&d.P50), P95: finiteOrNull(&d.P95), P99: finiteOrNull(&d.P99),
	}
}

// finiteOrNull is null for what JSON cannot say.
func finiteOrNull(f *float64) *float64 {
	if f == nil || math.IsNaN(*f) || math.IsInf(*f, 0) {
		return nil
	}
	v := *f
	return &v
}

func (a *API) statsOperations(h huma.API) {
	tags := []string{"Stats"}
	const when = " From and to default to the last 30 days. With without_maintenance=true the times of maintenance windows are left out."
	operation(a, h, huma.Operation{
		OperationID: "get-monitor-stats", Method: http.MethodGet, Path: "/api/v1/monitors/{id}/stats", Tags: tags,
		Summary: "Read a monitor's figures", Description: "Uptime, MTBF, MTTR, health, runs, durations and lateness." + when,
	}, tenant.ScopeRead, a.monitorStats)
	operation(a, h, huma.Operation{
		OperationID: "get-stats", Method: http.MethodGet, Path: "/api/v1/stats", Tags: tags,
		Summary: "Read the organisation's figures", Description: "Over all monitors together." + when,
	}, tenant.ScopeRead, a.organisationStats)
	operation(a, h, huma.Operation{
		OperationID: "list-stats", Method: http.MethodGet, Path: "/api/v1/stats/monitors", Tags: tags,
		Summary: "List the figures of every monitor", Description: "In the order of the list of monitors." + when,
	}, tenant.ScopeRead, a.listStats)
}

const statsDefault = 30 * 24 * time.Hour

// statsWindow is the Span asked for, up to now at most: figures of the future are none. Without bounds it is the last 30
// days, and without from only, the 30 days up to to.
func (a *API) statsWindow(s Span) (history.Window, error) {
	now := a.now().UTC().Truncate(time.Microsecond)
	to := s.To.or(now)
	w, err := s.window(to.Add(-statsDefault), to)
	if err != nil || !w.To.After(now) {
		return w, err
	}
	if w.To = now; !w.From.Before(now) {
		return w, huma.NewError(http.StatusUnprocessableEntity, "validation failed",
			&huma.ErrorDetail{Location: "query.from", Message: "must be before now"})
	}
	return w, nil
}

// StatsQuery is what is asked of figures.
type StatsQuery struct {
	Span
	WithoutMaintenance bool `query:"without_maintenance" doc:"Leave out the times in which a monitor was in maintenance: neither up nor down, and no runs or failures in them count."`
}

// monitorFigures reads the figures of the monitors as they were asked for.
func (a *API) monitorFigures(ctx context.Context, org tenant.OrgID, in StatsQuery, w history.Window, monitors ...uuid.UUID) (map[uuid.UUID]history.Stats, error) {
	if !in.WithoutMaintenance {
		return a.history.MonitorStats(ctx, org, w, monitors...)
	}
	without, err := a.store.MaintenanceTimes(ctx, org, w, monitors...)
	if err != nil {
		return nil, err
	}
	return a.history.MonitorStatsWithout(ctx, org, w, without, monitors...)
}

type monitorStatsInput struct {
	MonitorPath
	StatsQuery
}

type statsOutput struct {
	Body Stats
}

func (a *API) monitorStats(ctx context.Context, who tenant.Identity, in *monitorStatsInput) (*statsOutput, error) {
	w, err := a.statsWindow(in.Span)
	if err != nil {
		return nil, err
	}
	if _, err := a.store.Monitor(ctx, who.Org, in.ID); err != nil {
		return nil, err
	}
	all, err := a.monitorFigures(ctx, who.Org, in.StatsQuery, w, in.ID)
	if err != nil {
		return nil, err
	}
	return &statsOutput{Body: viewStats(w, all[in.ID])}, nil
}

type organisationStatsOutput struct {
	Body organisationStatsView
}

type organisationStatsView struct {
	Monitors int `json:"monitors" doc:"How many had any history in the window."`
	Stats
}

func (a *API) organisationStats(ctx context.Context, who tenant.Identity, in *StatsQuery) (*organisationStatsOutput, error) {
	w, err := a.statsWindow(in.Span)
	if err != nil {
		return nil, err
	}
	s, err := a.organisationFigures(ctx, who.Org, in.WithoutMaintenance, w)
	if err != nil {
		return nil, err
	}
	return &organisationStatsOutput{Body: organisationStatsView{Monitors: s.Monitors, Stats: viewStats(w, s)}}, nil
}

func (a *API) organisationFigures(ctx context.Context, org tenant.OrgID, withoutMaintenance bool, w history.Window) (history.Stats, error) {
	if !withoutMaintenance {
		return a.history.OrganisationStats(ctx, org, w)
	}
	without, err := a.store.MaintenanceTimes(ctx, org, w)
	if err != nil {
		return history.Stats{}, err
	}
	return a.history.OrganisationStatsWithout(ctx, org, w, without)
}

type listStatsInput struct {
	Paging
	StatsQuery
}

// monitorStatsView are a monitor's figures in a list.
type monitorStatsView struct {
	MonitorID   uuid.UUID `json:"monitor_id" format:"uuid"`
	MonitorName string    `json:"monitor_name"`
	Stats
}

func (a *API) listStats(ctx context.Context, who tenant.Identity, in *listStatsInput) (*list[monitorStatsView], error) {
	c, err := decodeCursor("stats", in.Cursor)
	if err != nil {
		return nil, err
	}
	w, err := a.statsWindow(in.Span)
	if err != nil {
		return nil, err
	}
	rows, err := a.store.Monitors(ctx, who.Org, inventory.MonitorFilter{After: c.ID, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, 0, in.Limit)
	for _, m := range rows[:min(len(rows), in.Limit)] {
		ids = append(ids, m.ID)
	}
	all := map[uuid.UUID]history.Stats{}
	if len(ids) > 0 {
		if all, err = a.monitorFigures(ctx, who.Org, in.StatsQuery, w, ids...); err != nil {
			return nil, err
		}
	}
	return page(rows, in.Limit, func(m inventory.Monitor) monitorStatsView {
		return monitorStatsView{MonitorID: m.ID, MonitorName: m.Config.Name, Stats: viewStats(w, all[m.ID])}
	}, func(m inventory.Monitor) cursor { return cursor{Of: "stats", ID: m.ID} })
}
