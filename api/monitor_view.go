package api

import (
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
)

// monitorView is a monitor in an answer.
type monitorView struct {
	ID        uuid.UUID `json:"id" format:"uuid"`
	ProjectID uuid.UUID `json:"project_id" format:"uuid"`
	PingKey   uuid.UUID `json:"ping_key" format:"uuid" doc:"Whoever has it can ping, and nothing else."`
	PingURL   string    `json:"ping_url" format:"uri"`

	Name             string            `json:"name"`
	Slug             string            `json:"slug"`
	Schedule         scheduleView      `json:"schedule"`
	Grace            duration          `json:"grace"`
	Early            duration          `json:"early"`
	MaxRuntime       duration          `json:"max_runtime"`
	FailureTolerance int               `json:"failure_tolerance"`
	ManualResume     bool              `json:"manual_resume"`
	LateIncidents    bool              `json:"late_incidents"`
	Tags             []string          `json:"tags" nullable:"false"`
	Labels           map[string]string `json:"labels"`
	Anomaly          anomalyView       `json:"anomaly"`

	Status     monitor.Status `json:"status" enum:"new,up,late,down,paused" doc:"paused follows /pause and /resume at once; all else follows the pings."`
	LastPingAt *time.Time     `json:"last_ping_at" doc:"The last ping that was not a note."`
	DueAt      *time.Time     `json:"due_at" doc:"When the next run is due; null: nothing is expected."`
	DeadlineAt *time.Time     `json:"deadline_at" doc:"due_at and grace, or later behind a time in which we could not receive pings."`
	OpenRuns   int            `json:"open_runs" doc:"How many runs were started and have not finished."`
	CreatedAt  time.Time      `json:"created_at"`
	UpdatedAt  time.Time      `json:"updated_at" doc:"Of the configuration or the ping key."`
}

type scheduleView struct {
	Interval duration `json:"interval,omitempty"`
	Cron     string   `json:"cron,omitempty"`
	Timezone string   `json:"timezone,omitempty"`
}

type anomalyView struct {
	Enabled      bool     `json:"enabled"`
	ZScore       float64  `json:"z_score"`
	MinRuns      int      `json:"min_runs"`
	MinDeviation duration `json:"min_deviation"`
}

func (a *API) viewMonitor(m inventory.Monitor) monitorView {
	c := m.Config
	v := monitorView{
		ID: m.ID, ProjectID: m.Project.UUID, PingKey: m.Key, PingURL: a.baseURL + "/ping/" + m.Key.String(),
		Name: c.Name, Slug: c.Slug,
		Schedule: scheduleView{Cron: c.Schedule.Cron, Timezone: c.Schedule.Timezone},
		Grace:    spell(c.Grace), Early: spell(c.Early), MaxRuntime: spell(c.MaxRuntime),
		FailureTolerance: c.FailureTolerance, ManualResume: c.ManualResume, LateIncidents: c.LateIncidents,
		Tags: c.Tags, Labels: c.Labels,
		Anomaly: anomalyView{
			Enabled: c.Anomaly.Enabled, ZScore: c.Anomaly.ZScore, MinRuns: c.Anomaly.MinRuns,
			MinDeviation: spell(c.Anomaly.MinDeviation),
		},
		Status: m.Status, LastPingAt: m.LastPingAt, DueAt: m.DueAt, DeadlineAt: m.DeadlineAt, OpenRuns: m.OpenRuns,
		CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt,
	}
	if c.Schedule.Interval != 0 {
		v.Schedule.Interval = spell(c.Schedule.Interval)
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	if m.Status == monitor.Paused { // the evaluator may not have come to the pause yet
		v.DueAt, v.DeadlineAt = nil, nil
	}
	return v
}

func spell(d model.Duration) duration { return duration(d.String()) }
