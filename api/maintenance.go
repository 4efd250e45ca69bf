package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/quiet"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Maintenance reads and changes maintenance windows. now is when they are written: what is on then is on at once. A scope that names what
// is not the organisation's is a *quiet.FieldError.
type Maintenance interface {
	MaintenanceWindows(ctx context.Context, org tenant.OrgID) ([]quiet.Window, error)
	MaintenanceWindow(ctx context.Context, org tenant.OrgID, id uuid.UUID) (quiet.Window, error)
	CreateMaintenanceWindow(ctx context.Context, org tenant.OrgID, w quiet.Window, now time.Time) (quiet.Window, error)
	ReplaceMaintenanceWindow(ctx context.Context, org tenant.OrgID, w quiet.Window, now time.Time) (quiet.Window, error)
	DeleteMaintenanceWindow(ctx context.Context, org tenant.OrgID, id uuid.UUID, now time.Time) error
	// MaintenanceTimes returns when each of the monitors, or of all if none is named, was in maintenance within the window, in order and
	// without overlap.
	MaintenanceTimes(ctx context.Context, org tenant.OrgID, w history.Window, monitors ...uuid.UUID) (map[uuid.UUID][]history.Window, error)
}

func (a *API) maintenanceOperations(h huma.API) {
	tags := []string{"Maintenance"}
	const base = "/api/v1/maintenance-windows"
	operation(a, h, huma.Operation{
		OperationID: "list-maintenance-windows", Method: http.MethodGet, Path: base, Tags: tags,
		Summary: "List maintenance windows", Description: "All of them, in the order of their making.",
	}, tenant.ScopeRead, a.listMaintenance)
	operation(a, h, huma.Operation{
		OperationID: "create-maintenance-window", Method: http.MethodPost, Path: base, Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Create a maintenance window",
		Description: "While it is on, alerts of what is in its scope are not told; incidents open all the same, and what still fires when it ends is told then. " +
			"Either starts_at and ends_at, or recurring. One that should be on now is on at once.",
	}, tenant.ScopeWrite, a.createMaintenance)
	operation(a, h, huma.Operation{
		OperationID: "get-maintenance-window", Method: http.MethodGet, Path: base + "/{id}", Tags: tags, Summary: "Read a maintenance window",
	}, tenant.ScopeRead, a.getMaintenance)
	operation(a, h, huma.Operation{
		OperationID: "replace-maintenance-window", Method: http.MethodPut, Path: base + "/{id}", Tags: tags,
		Summary: "Replace a maintenance window",
		Description: "As a whole; what is left out is gone. Figures go by the new one from now on, but where a window that comes once replaces " +
			"one that comes once: then also for what is past.",
	}, tenant.ScopeWrite, a.replaceMaintenance)
	operation(a, h, huma.Operation{
		OperationID: "delete-maintenance-window", Method: http.MethodDelete, Path: base + "/{id}", Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary: "Delete a maintenance window", Description: "If it is on, it ends. Figures still leave out the times it was on.",
	}, tenant.ScopeWrite, a.deleteMaintenance)
}

// maintenanceFields is what a person says of a window.
type maintenanceFields struct {
	Name      string                      `json:"name" minLength:"1" maxLength:"200"`
	Comment   string                      `json:"comment,omitempty" maxLength:"2000"`
	Scope     maintenanceScopeFields      `json:"scope"`
	StartsAt  *time.Time                  `json:"starts_at,omitempty" doc:"Of a window that comes once; it may be past, for the figures."`
	EndsAt    *time.Time                  `json:"ends_at,omitempty" doc:"Of a window that comes once: at most 366 days later."`
	Recurring *maintenanceRecurringFields `json:"recurring,omitempty" doc:"Of a window that comes again and again."`
}

type maintenanceScopeFields struct {
	All      bool        `json:"all,omitempty" doc:"Every alert of the organisation, those of rules and of others too."`
	Monitors []uuid.UUID `json:"monitors,omitempty" maxItems:"1000" doc:"Their ids."`
	Tags     []string    `json:"tags,omitempty" maxItems:"1000" doc:"Monitors that have one of these."`
	Projects []uuid.UUID `json:"projects,omitempty" maxItems:"1000" doc:"Their ids."`
}

type maintenanceRecurringFields struct {
	Cron     string                   `json:"cron,omitempty" maxLength:"1000" doc:"When it begins; or give weekly." example:"0 3 1 * *"`
	Weekly   *maintenanceWeeklyFields `json:"weekly,omitempty" doc:"When it begins; or give cron."`
	Timezone string                   `json:"timezone,omitempty" maxLength:"100" doc:"IANA time zone; UTC where it is left out." example:"Europe/Berlin"`
	Duration duration                 `json:"duration" doc:"How long it lasts: 1m to 7d of time that passes, also where the clock changes meanwhile."`
}

type maintenanceWeeklyFields struct {
	Days []string `json:"days" enum:"mon,tue,wed,thu,fri,sat,sun" minItems:"1" maxItems:"7"`
	At   string   `json:"at" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" patternDescription:"a time as 22:30" example:"22:30"`
}

// maintenanceView is a window in an answer.
type maintenanceView struct {
	ID        uuid.UUID                   `json:"id" format:"uuid"`
	Name      string                      `json:"name"`
	Comment   string                      `json:"comment"`
	Scope     maintenanceScopeView        `json:"scope"`
	StartsAt  *time.Time                  `json:"starts_at" doc:"null: it comes again and again."`
	EndsAt    *time.Time                  `json:"ends_at"`
	Recurring *maintenanceRecurringView   `json:"recurring" doc:"null: it comes once."`
	Active    bool                        `json:"active" doc:"It is on."`
	Next      []maintenanceOccurrenceView `json:"next" nullable:"false" doc:"The one that is on, if one is, and those to come: five at most."`
	CreatedBy *uuid.UUID                  `json:"created_by" format:"uuid" nullable:"true" doc:"The id of the API key."`
	CreatedAt time.Time                   `json:"created_at"`
	UpdatedAt time.Time                   `json:"updated_at"`
}

type maintenanceScopeView struct {
	All      bool        `json:"all"`
	Monitors []uuid.UUID `json:"monitors" nullable:"false"`
	Tags     []string    `json:"tags" nullable:"false"`
	Projects []uuid.UUID `json:"projects" nullable:"false"`
}

type maintenanceRecurringView struct {
	Cron     string                 `json:"cron" doc:"Empty: weekly says when."`
	Weekly   *maintenanceWeeklyView `json:"weekly"`
	Timezone string                 `json:"timezone"`
	Duration string                 `json:"duration"`
}

type maintenanceWeeklyView struct {
	Days []string `json:"days" nullable:"false"`
	At   string   `json:"at"`
}

type maintenanceOccurrenceView struct {
	StartsAt time.Time `json:"starts_at"`
	EndsAt   time.Time `json:"ends_at"`
}

const maintenanceShown = 5 // occurrences

func viewMaintenance(w quiet.Window, now time.Time) maintenanceView {
	v := maintenanceView{
		ID: w.ID, Name: w.Name, Comment: w.Comment, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt, Next: []maintenanceOccurrenceView{},
		Scope: maintenanceScopeView{All: w.Scope.All, Monitors: orEmpty(w.Scope.Monitors), Tags: orEmpty(w.Scope.Tags), Projects: orEmpty(w.Scope.Projects)},
	}
	if w.CreatedBy != uuid.Nil {
		v.CreatedBy = &w.CreatedBy
	}
	if t := w.Time; t.Once() {
		v.StartsAt, v.EndsAt = orNull(t.StartsAt.UTC()), orNull(t.EndsAt.UTC())
	} else {
		v.Recurring = &maintenanceRecurringView{Cron: t.Cron, Timezone: t.Timezone, Duration: model.Duration(t.Duration).String()}
		if t.Timezone == "" {
			v.Recurring.Timezone = "UTC"
		}
		if t.Weekly != nil {
			v.Recurring.Weekly = &maintenanceWeeklyView{Days: orEmpty(t.Weekly.Days), At: t.Weekly.At}
		}
	}
	for _, o := range w.Occurrences(now, now.AddDate(100, 0, 0), maintenanceShown) {
		v.Next = append(v.Next, maintenanceOccurrenceView(o))
		v.Active = v.Active || !o.StartsAt.After(now)
	}
	return v
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// MaintenancePath is the part of a path that names a maintenance window.
type MaintenancePath struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The maintenance window's id."`
}

type oneMaintenance struct {
	Body maintenanceView
}

type madeMaintenance struct {
	Location string `header:"Location"`
	Body     maintenanceView
}

func (a *API) listMaintenance(ctx context.Context, who tenant.Identity, _ *struct{}) (*list[maintenanceView], error) {
	all, err := a.store.MaintenanceWindows(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	out := &list[maintenanceView]{Body: listBody[maintenanceView]{Items: make([]maintenanceView, len(all))}}
	for i, w := range all {
		out.Body.Items[i] = viewMaintenance(w, a.now())
	}
	return out, nil
}

func (a *API) getMaintenance(ctx context.Context, who tenant.Identity, in *MaintenancePath) (*oneMaintenance, error) {
	w, err := a.store.MaintenanceWindow(ctx, who.Org, in.ID)
	if err != nil {
		return nil, err
	}
	return &oneMaintenance{Body: viewMaintenance(w, a.now())}, nil
}

type createMaintenanceInput struct {
	Body maintenanceFields
}

func (a *API) createMaintenance(ctx context.Context, who tenant.Identity, in *createMaintenanceInput) (*madeMaintenance, error) {
	now := a.now()
	w, err := in.Body.read(now)
	if err != nil {
		return nil, err
	}
	w.CreatedBy = who.Key
	if w, err = a.store.CreateMaintenanceWindow(ctx, who.Org, w, now); err != nil {
		return nil, asViolation(err)
	}
	return &madeMaintenance{Location: "/api/v1/maintenance-windows/" + w.ID.String(), Body: viewMaintenance(w, now)}, nil
}

type replaceMaintenanceInput struct {
	MaintenancePath
	Body maintenanceFields
}

func (a *API) replaceMaintenance(ctx context.Context, who tenant.Identity, in *replaceMaintenanceInput) (*oneMaintenance, error) {
	now := a.now()
	w, err := in.Body.read(now)
	if err != nil {
		return nil, err
	}
	w.ID = in.ID
	if w, err = a.store.ReplaceMaintenanceWindow(ctx, who.Org, w, now); err != nil {
		return nil, asViolation(err)
	}
	return &oneMaintenance{Body: viewMaintenance(w, now)}, nil
}

func (a *API) deleteMaintenance(ctx context.Context, who tenant.Identity, in *MaintenancePath) (*noContent, error) {
	return nil, a.store.DeleteMaintenanceWindow(ctx, who.Org, in.ID, a.now())
}

// read makes a window of the fields. The error names every fault by its place in the body, and is made for the client.
func (f *maintenanceFields) read(now time.Time) (quiet.Window, error) {
	var v violations
	w := quiet.Window{
		Name: f.Name, Comment: f.Comment,
		Scope: quiet.Scope{All: f.Scope.All, Monitors: distinct(f.Scope.Monitors), Tags: distinct(f.Scope.Tags), Projects: distinct(f.Scope.Projects)},
	}
	control := func(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
	if control(f.Name) {
		v.add("body.name", "must not have control characters", nil)
	}
	if strings.ContainsRune(f.Comment, 0) {
		v.add("body.comment", "must not have the character NUL", nil)
	}
	if slices.ContainsFunc(f.Scope.Tags, control) {
		v.add("body.scope.tags", "must not have control characters", nil)
	}
	if f.StartsAt != nil {
		w.Time.StartsAt = f.StartsAt.UTC().Truncate(time.Microsecond)
	}
	if f.EndsAt != nil {
		w.Time.EndsAt = f.EndsAt.UTC().Truncate(time.Microsecond)
	}
	if r := f.Recurring; r != nil {
		var d model.Duration
		v.duration("body.recurring.duration", &r.Duration, &d)
		w.Time.Cron, w.Time.Timezone, w.Time.Duration = r.Cron, r.Timezone, time.Duration(d)
		if r.Weekly != nil {
			w.Time.Weekly = &quiet.Weekly{Days: distinct(r.Weekly.Days), At: r.Weekly.At}
		}
		if w.Time.Once() {
			v.add("body.recurring", "give cron or weekly", nil)
		}
	}
	if len(v.details) > 0 {
		return w, v.err()
	}
	for _, e := range w.Validate(now) {
		v.add(strings.TrimSuffix("body."+e.Field, "."), e.Reason, nil)
	}
	return w, v.err()
}

// distinct is the list with each value once, in the order of their first.
func distinct[T comparable](list []T) []T {
	var out []T
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// asViolation makes a 422 that names the place of an error that the store has found.
func asViolation(err error) error {
	e, ok := errors.AsType[*quiet.FieldError](err)
	if !ok {
		return err
	}
	var v violations
	v.add("body."+e.Field, e.Reason, nil)
	return v.err()
}
