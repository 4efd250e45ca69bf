package api

import (
	"context"
	"math"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func (a *API) historyOperations(h huma.API) {
	tags := []string{"History"}
	operation(a, h, huma.Operation{
		OperationID: "list-pings", Method: http.MethodGet, Path: "/api/v1/monitors/{id}/pings", Tags: tags,
		Summary: "List a monitor's pings", Description: "The youngest first; from and to limit received_at.",
	}, tenant.ScopeRead, a.listPings)
	operation(a, h, huma.Operation{
		OperationID: "get-ping-output", Method: http.MethodGet, Path: "/api/v1/monitors/{id}/pings/{ping_id}/output", Tags: tags,
		Summary: "Read what a ping sent", Description: "The kept part of the ping's body, redacted, as bytes: text/plain where it is UTF-8, else application/octet-stream.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"text/plain":               {Schema: &huma.Schema{Type: huma.TypeString}},
			"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		}}},
	}, tenant.ScopeRead, a.pingOutput)
	operation(a, h, huma.Operation{
		OperationID: "list-runs", Method: http.MethodGet, Path: "/api/v1/monitors/{id}/runs", Tags: tags,
		Summary: "List a monitor's runs", Description: "The youngest first; from and to limit finished_at. A run that is open is not in the list.",
	}, tenant.ScopeRead, a.listRuns)
	operation(a, h, huma.Operation{
		OperationID: "list-transitions", Method: http.MethodGet, Path: "/api/v1/monitors/{id}/transitions", Tags: tags,
		Summary: "List a monitor's changes of status", Description: "The youngest first; from and to limit at.",
	}, tenant.ScopeRead, a.listTransitions)
}

type historyInput struct {
	MonitorPath
	Paging
	Span
}

// pageOf checks that the monitor is the organisation's, and what part of which list is wanted.
func (a *API) pageOf(ctx context.Context, who tenant.Identity, of string, in *historyInput) (history.Page, error) {
	c, err := decodeCursor(of, in.Cursor)
	if err != nil {
		return history.Page{}, err
	}
	w, err := in.window(allTime())
	if err != nil {
		return history.Page{}, err
	}
	if _, err := a.store.Monitor(ctx, who.Org, in.ID); err != nil {
		return history.Page{}, err
	}
	return history.Page{Window: w, After: history.Key{At: c.At, Tie: c.Tie}, Limit: in.Limit + 1}, nil
}

func placeIn(of string, k history.Key) cursor { return cursor{Of: of, At: k.At.UTC(), Tie: k.Tie} }

// pingView is a ping in an answer.
type pingView struct {
	ID              uuid.UUID  `json:"id" format:"uuid"`
	Kind            string     `json:"kind" enum:"success,start,fail,log"`
	ReceivedAt      time.Time  `json:"received_at"`
	RID             *uuid.UUID `json:"rid" format:"uuid" nullable:"true" doc:"The run id that the client gave."`
	ExitCode        *int       `json:"exit_code"`
	DurationSeconds *float64   `json:"duration_seconds" doc:"As the client gave it."`
	RemoteAddr      string     `json:"remote_addr"`
	UserAgent       string     `json:"user_agent"`
	Method          string     `json:"method"`
	BodySize        int64      `json:"body_size" doc:"Bytes the client sent."`
	HasOutput       bool       `json:"has_output" doc:"Something of them is kept: see /output."`
}

func viewPing(p history.Ping) pingView {
	return pingView{
		ID: p.ID, Kind: p.Kind.String(), ReceivedAt: p.ReceivedAt.UTC(), RID: idOrNull(p.RID), ExitCode: exitCode(p.ExitCode),
		DurationSeconds: seconds(p.Duration), RemoteAddr: p.RemoteAddr, UserAgent: p.UserAgent, Method: p.Method,
		BodySize: p.BodySize, HasOutput: p.HasOutput,
	}
}

func (a *API) listPings(ctx context.Context, who tenant.Identity, in *historyInput) (*list[pingView], error) {
	p, err := a.pageOf(ctx, who, "pings", in)
	if err != nil {
		return nil, err
	}
	rows, err := a.history.Pings(ctx, who.Org, in.ID, p)
	if err != nil {
		return nil, err
	}
	return page(rows, in.Limit, viewPing, func(r history.Ping) cursor { return placeIn("pings", r.Key) })
}

type pingOutputInput struct {
	MonitorPath
	Ping uuid.UUID `path:"ping_id" format:"uuid" doc:"The ping's id."`
}

type bytesOutput struct {
	ContentType string `header:"Content-Type"`
	Sniff       string `header:"X-Content-Type-Options"`
	Disposition string `header:"Content-Disposition"`
	Policy      string `header:"Content-Security-Policy"`
	Body        []byte
}

func (a *API) pingOutput(ctx context.Context, who tenant.Identity, in *pingOutputInput) (*bytesOutput, error) {
	if _, err := a.store.Monitor(ctx, who.Org, in.ID); err != nil {
		return nil, err
	}
	b, err := a.history.PingOutput(ctx, who.Org, in.ID, in.Ping)
	if err != nil {
		return nil, err
	}
	// What a job sent is nobody's page: a browser must show it as text or save it.
	out := &bytesOutput{ContentType: "application/octet-stream", Sniff: "nosniff", Policy: "sandbox", Body: b}
	if utf8.Valid(b) {
		out.ContentType = "text/plain; charset=utf-8"
	} else {
		out.Disposition = `attachment; filename="` + in.Ping.String() + `"`
	}
	return out, nil
}

// runView is a run in an answer.
type runView struct {
	RunID           uuid.UUID       `json:"run_id" format:"uuid" doc:"The client's run id; else the id of the ping that began it."`
	StartedAt       *time.Time      `json:"started_at" doc:"null: no start was seen."`
	FinishedAt      time.Time       `json:"finished_at"`
	Outcome         monitor.Outcome `json:"outcome" enum:"success,fail,missed,abandoned,unknown"`
	ExitCode        *int            `json:"exit_code"`
	DurationSeconds *float64        `json:"duration_seconds"`
	LatenessSeconds *float64        `json:"lateness_seconds" doc:"Start (or finish, without a start) less due; 0: it was early; null: unknown."`
}

func viewRun(r history.Run) runView {
	v := runView{
		RunID: r.ID, FinishedAt: r.FinishedAt.UTC(), Outcome: r.Outcome, ExitCode: exitCode(r.ExitCode),
		DurationSeconds: seconds(r.Duration), LatenessSeconds: seconds(r.Lateness),
	}
	if !r.StartedAt.IsZero() {
		started := r.StartedAt.UTC()
		v.StartedAt = &started
	}
	return v
}

func (a *API) listRuns(ctx context.Context, who tenant.Identity, in *historyInput) (*list[runView], error) {
	p, err := a.pageOf(ctx, who, "runs", in)
	if err != nil {
		return nil, err
	}
	rows, err := a.history.Runs(ctx, who.Org, in.ID, p)
	if err != nil {
		return nil, err
	}
	return page(rows, in.Limit, viewRun, func(r history.Run) cursor { return placeIn("runs", r.Key) })
}

// transitionView is a change of status in an answer.
type transitionView struct {
	At                time.Time      `json:"at"`
	From              monitor.Status `json:"from" enum:"new,up,late,down,paused"`
	To                monitor.Status `json:"to" enum:"new,up,late,down,paused"`
	Reason            string         `json:"reason"`
	SecondsInPrevious float64        `json:"seconds_in_previous" doc:"Without the time that could not be observed."`
}

func viewTransition(t history.Transition) transitionView {
	return transitionView{At: t.At.UTC(), From: t.From, To: t.To, Reason: t.Reason, SecondsInPrevious: finite(t.SecondsInPrevious)}
}

func (a *API) listTransitions(ctx context.Context, who tenant.Identity, in *historyInput) (*list[transitionView], error) {
	p, err := a.pageOf(ctx, who, "transitions", in)
	if err != nil {
		return nil, err
	}
	rows, err := a.history.Transitions(ctx, who.Org, in.ID, p)
	if err != nil {
		return nil, err
	}
	return page(rows, in.Limit, viewTransition, func(r history.Transition) cursor { return placeIn("transitions", r.Key) })
}

func idOrNull(id uuid.UUID) *uuid.UUID {
	if id == uuid.Nil {
		return nil
	}
	return &id
}

func exitCode(code int16) *int {
	if code == record.NoExitCode {
		return nil
	}
	n := int(code)
	return &n
}

// seconds is null for a negative duration, which stands for none.
func seconds(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

// finite is 0 for what JSON cannot say.
func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}
