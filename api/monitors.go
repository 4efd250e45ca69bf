package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// MonitorPath is the part of a path that names a monitor.
type MonitorPath struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The monitor's id."`
}

type oneMonitor struct {
	Body monitorView
}

type madeMonitor struct {
	Location string `header:"Location"`
	Body     monitorView
}

type noContent struct{}

func (a *API) monitorOperations(h huma.API) {
	tags := []string{"Monitors"}
	operation(a, h, huma.Operation{
		OperationID: "list-monitors", Method: http.MethodGet, Path: "/api/v1/monitors", Tags: tags,
		Summary: "List monitors", Description: "In the order of their making.",
	}, tenant.ScopeRead, a.listMonitors)
	operation(a, h, huma.Operation{
		OperationID: "create-monitor", Method: http.MethodPost, Path: "/api/v1/monitors", Tags: tags, DefaultStatus: http.StatusCreated,
		Summary: "Create a monitor", Description: "It takes pings from now on.",
	}, tenant.ScopeWrite, a.createMonitor)
	operation(a, h, huma.Operation{
		OperationID: "get-monitor", Method: http.MethodGet, Path: "/api/v1/monitors/{id}", Tags: tags, Summary: "Read a monitor",
	}, tenant.ScopeRead, a.getMonitor)
	operation(a, h, huma.Operation{
		OperationID: "replace-monitor", Method: http.MethodPut, Path: "/api/v1/monitors/{id}", Tags: tags,
		Summary: "Replace a monitor's configuration", Description: "What is left out gets its default; only the slug stays as it was, because clients may use it.",
	}, tenant.ScopeWrite, a.replaceMonitor)
	operation(a, h, huma.Operation{
		OperationID: "patch-monitor", Method: http.MethodPatch, Path: "/api/v1/monitors/{id}", Tags: tags,
		Summary: "Change some of a monitor's configuration", Description: "A JSON merge patch (RFC 7396): what is left out stays, null resets to the default, objects merge. A schedule is replaced as a whole.",
	}, tenant.ScopeWrite, a.patchMonitor)
	operation(a, h, huma.Operation{
		OperationID: "delete-monitor", Method: http.MethodDelete, Path: "/api/v1/monitors/{id}", Tags: tags,
		Summary: "Delete a monitor", Description: "Its ping key stops at once, its open incidents are resolved.",
	}, tenant.ScopeWrite, a.deleteMonitor)
	operation(a, h, huma.Operation{
		OperationID: "pause-monitor", Method: http.MethodPost, Path: "/api/v1/monitors/{id}/pause", Tags: tags,
		Summary: "Pause a monitor", Description: "Nothing is expected of it until it is resumed, by /resume or, without manual_resume, by a ping.",
	}, tenant.ScopeWrite, a.pauseMonitor)
	operation(a, h, huma.Operation{
		OperationID: "resume-monitor", Method: http.MethodPost, Path: "/api/v1/monitors/{id}/resume", Tags: tags, Summary: "Resume a monitor",
	}, tenant.ScopeWrite, a.resumeMonitor)
	operation(a, h, huma.Operation{
		OperationID: "rotate-ping-key", Method: http.MethodPost, Path: "/api/v1/monitors/{id}/rotate-key", Tags: tags,
		Summary: "Give a monitor a fresh ping key", Description: "The old one stops within a second.",
	}, tenant.ScopeWrite, a.rotateKey)
}

type listMonitorsInput struct {
	Paging
	Status  []string   `query:"status,explode" nullable:"false" enum:"new,up,late,down,paused" doc:"Any of them; may be repeated."`
	Tag     []string   `query:"tag,explode" nullable:"false" doc:"All of them; may be repeated."`
	Name    string     `query:"name" maxLength:"200" doc:"Part of the name, in any case."`
	Slug    string     `query:"slug" maxLength:"100"`
	Project optionalID `query:"project" format:"uuid" doc:"The project's id."`
}

func (a *API) listMonitors(ctx context.Context, who tenant.Identity, in *listMonitorsInput) (*list[monitorView], error) {
	c, err := decodeCursor("monitors", in.Cursor)
	if err != nil {
		return nil, err
	}
	f := inventory.MonitorFilter{Tags: in.Tag, Name: in.Name, Slug: in.Slug, After: c.ID, Limit: in.Limit + 1}
	for _, s := range in.Status {
		f.Statuses = append(f.Statuses, monitor.Status(s))
	}
	if in.Project.id != nil {
		f.Project = &tenant.ProjectID{UUID: *in.Project.id}
	}
	rows, err := a.store.Monitors(ctx, who.Org, f)
	if err != nil {
		return nil, err
	}
	return page(rows, in.Limit, a.viewMonitor, func(m inventory.Monitor) cursor { return cursor{Of: "monitors", ID: m.ID} })
}

type createMonitorInput struct {
	Body createBody
}

func (a *API) createMonitor(ctx context.Context, who tenant.Identity, in *createMonitorInput) (*madeMonitor, error) {
	d := merge(nil, in.Body)
	c, err := configOf(d)
	if err != nil {
		return nil, err
	}
	wanted, err := projectOf(d)
	if err != nil {
		return nil, err
	}
	org, err := a.store.Organisation(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	project, err := pickProject(org, wanted)
	if err != nil {
		return nil, err
	}
	n := inventory.NewMonitor{Project: project, Config: c}
	if _, said := d["slug"]; !said {
		n.Config.Slug, n.FreeSlug = slugOf(c.Name), true
	}
	m, err := a.store.CreateMonitor(ctx, who.Org, n)
	if err != nil {
		return nil, err
	}
	a.publish(ctx, m.ID)
	return &madeMonitor{Location: a.baseURL + "/api/v1/monitors/" + m.ID.String(), Body: a.viewMonitor(m)}, nil
}

// pickProject is the project wanted, or the first.
func pickProject(org inventory.Organisation, wanted *uuid.UUID) (tenant.ProjectID, error) {
	for _, p := range org.Projects {
		if wanted == nil || p.ID.UUID == *wanted {
			return p.ID, nil
		}
	}
	v := violations{}
	v.add("body.project_id", "there is no such project", nil)
	return tenant.ProjectID{}, v.err()
}

func (a *API) getMonitor(ctx context.Context, who tenant.Identity, in *MonitorPath) (*oneMonitor, error) {
	return a.answer(a.store.Monitor(ctx, who.Org, in.ID))
}

type replaceMonitorInput struct {
	MonitorPath
	Body replaceBody
}

func (a *API) replaceMonitor(ctx context.Context, who tenant.Identity, in *replaceMonitorInput) (*oneMonitor, error) {
	d := merge(nil, in.Body)
	c, err := configOf(d)
	if err != nil {
		return nil, err
	}
	return a.change(ctx, in.ID)(a.store.UpdateMonitor(ctx, who.Org, in.ID, func(old monitor.Config) (monitor.Config, error) {
		if _, said := d["slug"]; !said {
			c.Slug = old.Slug
		}
		return c, nil
	}))
}

type patchMonitorInput struct {
	MonitorPath
	Body patchBody
}

func (a *API) patchMonitor(ctx context.Context, who tenant.Identity, in *patchMonitorInput) (*oneMonitor, error) {
	return a.change(ctx, in.ID)(a.store.UpdateMonitor(ctx, who.Org, in.ID, func(old monitor.Config) (monitor.Config, error) {
		d, err := documentOf(old)
		if err != nil {
			return monitor.Config{}, err
		}
		return configOf(merge(d, in.Body))
	}))
}

func (a *API) deleteMonitor(ctx context.Context, who tenant.Identity, in *MonitorPath) (*noContent, error) {
	if err := a.store.DeleteMonitor(ctx, who.Org, in.ID); err != nil {
		return nil, err
	}
	a.publish(ctx, in.ID)
	return nil, nil
}

func (a *API) pauseMonitor(ctx context.Context, who tenant.Identity, in *MonitorPath) (*oneMonitor, error) {
	return a.change(ctx, in.ID)(a.store.SetPaused(ctx, who.Org, in.ID, true))
}

func (a *API) resumeMonitor(ctx context.Context, who tenant.Identity, in *MonitorPath) (*oneMonitor, error) {
	return a.change(ctx, in.ID)(a.store.SetPaused(ctx, who.Org, in.ID, false))
}

func (a *API) rotateKey(ctx context.Context, who tenant.Identity, in *MonitorPath) (*oneMonitor, error) {
	return a.answer(a.store.RotateKey(ctx, who.Org, in.ID))
}

// answer makes a monitor the answer.
func (a *API) answer(m inventory.Monitor, err error) (*oneMonitor, error) {
	if err != nil {
		return nil, err
	}
	return &oneMonitor{Body: a.viewMonitor(m)}, nil
}

// change makes a changed monitor the answer, after its change was taken to the log.
func (a *API) change(ctx context.Context, id uuid.UUID) func(inventory.Monitor, error) (*oneMonitor, error) {
	return func(m inventory.Monitor, err error) (*oneMonitor, error) {
		if err == nil {
			a.publish(ctx, id)
		}
		return a.answer(m, err)
	}
}

// publishWait bounds how long an answer waits for the log.
const publishWait = 3 * time.Second

// publish takes the change to the log at once, also when the client is gone. It is committed already, so a failure costs
// time only: whoever drains the queue next takes it.
func (a *API) publish(ctx context.Context, id uuid.UUID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishWait)
	defer cancel()
	if err := a.publisher.Publish(ctx, id); err != nil {
		a.log.WarnContext(ctx, "api: a change waits in the queue: the log does not take it now", "monitor", id, "error", err)
	}
}
