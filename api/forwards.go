package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Forwards reads and changes forwards. What it reads has no secrets.
type Forwards interface {
	Forward(ctx context.Context, org tenant.OrgID, name string) (forward.Forward, error)
	Forwards(ctx context.Context, org tenant.OrgID) ([]forward.Forward, error)
	PutForward(ctx context.Context, org tenant.OrgID, f forward.Forward) (created bool, err error)
	DeleteForward(ctx context.Context, org tenant.OrgID, name string) error
}

// Sealer makes a secret unreadable to everybody but who forwards. It opens again only with the same about.
type Sealer interface {
	Seal(plain, about []byte) ([]byte, error)
}

func (a *API) forwardOperations(h huma.API) {
	tags := []string{"Forwards"}
	operation(a, h, huma.Operation{
		OperationID: "list-forwards", Method: http.MethodGet, Path: "/api/v1/forwards", Tags: tags,
		Summary: "List forwards", Description: "All of them, by name, each with how far it is.",
	}, tenant.ScopeRead, a.listForwards)
	operation(a, h, huma.Operation{
		OperationID: "get-forward", Method: http.MethodGet, Path: "/api/v1/forwards/{name}", Tags: tags,
		Summary: "Read a forward", Description: "Its configuration without secrets, and how far it is.",
	}, tenant.ScopeRead, a.getForward)
	operation(a, h, huma.Operation{
		OperationID: "put-forward", Method: http.MethodPut, Path: "/api/v1/forwards/{name}", Tags: tags,
		Summary: "Create or replace a forward",
		Description: "Sends the series of the organisation's monitors on, from now on. Replaced as a whole, secrets too: what is left out is gone. " +
			"A replaced forward goes on where it was.",
		Responses: map[string]*huma.Response{"201": {Description: "Created", Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/Forward"}},
		}}},
	}, tenant.ScopeWrite, a.putForward)
	operation(a, h, huma.Operation{
		OperationID: "delete-forward", Method: http.MethodDelete, Path: "/api/v1/forwards/{name}", Tags: tags,
		Summary: "Delete a forward", Description: "Its secrets are gone with it. What was sent stays where it is.", DefaultStatus: http.StatusNoContent,
	}, tenant.ScopeWrite, a.deleteForward)
}

// forwardFields is what a person says of a forward.
type forwardFields struct {
	Kind           forward.Kind      `json:"kind" enum:"remote_write,datadog" doc:"What the receiver speaks: Prometheus remote write 1.0, or Datadog's series API."`
	URL            string            `json:"url,omitempty" maxLength:"2000" doc:"Of remote_write: where to write. Of datadog: the API's, in place of site." example:"https://prometheus.example.com/api/v1/write"`
	Site           string            `json:"site,omitempty" maxLength:"200" doc:"Datadog's site; datadoghq.com where neither it nor url is given." example:"datadoghq.eu"`
	Interval       *duration         `json:"interval,omitempty" default:"1m" doc:"From sample to sample: a multiple of 15s that divides a day, 5m at most."`
	ExternalLabels map[string]string `json:"external_labels,omitempty" maxProperties:"30" doc:"Added to every series that does not have them."`
	Metrics        []string          `json:"metrics,omitempty" maxItems:"100" doc:"The metrics to send; * stands for any characters. Left out: all; of datadog all but buckets."`
	Basic          *basicFields      `json:"basic,omitempty" writeOnly:"true" doc:"Basic authentication."`
	BearerToken    string            `json:"bearer_token,omitempty" writeOnly:"true" doc:"Sent as Authorization: Bearer."`
	APIKey         string            `json:"api_key,omitempty" writeOnly:"true" doc:"Datadog's API key."`
	Headers        map[string]string `json:"headers,omitempty" writeOnly:"true" maxProperties:"20" doc:"Further headers of each request. Their values are kept as secret as the rest."`
}

type basicFields struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// forwardView is a forward in an answer.
type forwardView struct {
	Name           string            `json:"name"`
	Kind           forward.Kind      `json:"kind" enum:"remote_write,datadog"`
	URL            string            `json:"url" doc:"Empty: that of the site."`
	Site           string            `json:"site" doc:"Datadog's; empty: url is given."`
	Interval       string            `json:"interval"`
	ExternalLabels map[string]string `json:"external_labels" nullable:"false"`
	Metrics        []string          `json:"metrics" nullable:"false"`
	Authentication string            `json:"authentication" enum:"none,basic,bearer,api_key" doc:"The secret itself is not shown."`
	Headers        []string          `json:"headers" nullable:"false" doc:"The names of further headers; their values are not shown."`
	CreatedAt      time.Time         `json:"created_at"`
	UpdatedAt      time.Time         `json:"updated_at"`
	Status         forwardStatusView `json:"status"`
}

type forwardStatusView struct {
	PositionAt      time.Time  `json:"position_at" doc:"The instant up to which everything was sent, or refused."`
	LagSeconds      float64    `json:"lag_seconds" doc:"From it to now: an interval and a few seconds, if all is well."`
	LastSentAt      *time.Time `json:"last_sent_at" doc:"When the receiver last took something; null: never."`
	LastError       string     `json:"last_error" doc:"Empty: since the last it has gone well."`
	LastErrorAt     *time.Time `json:"last_error_at"`
	FailedTries     int64      `json:"failed_tries" doc:"Since the position last moved."`
	SamplesSent     int64      `json:"samples_sent"`
	SamplesRejected int64      `json:"samples_rejected" doc:"Those that the receiver does not want (4xx). They are not sent again."`
	SkippedSeconds  float64    `json:"skipped_seconds" doc:"Time left out, because the receiver was away for longer than is made up for: 24 hours, of datadog 50 minutes."`
}

func viewForward(f forward.Forward, now time.Time) forwardView {
	v := forwardView{
		Name: f.Name, Kind: f.Config.Kind, URL: f.Config.URL, Site: f.Config.Site, Interval: model.Duration(f.Config.Interval).String(),
		ExternalLabels: f.Config.ExternalLabels, Metrics: f.Config.Metrics, Authentication: f.Hints.Authentication, Headers: f.Hints.Headers,
		CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt,
		Status: forwardStatusView{
			PositionAt: f.Status.Position, LagSeconds: max(0, now.Sub(f.Status.Position).Seconds()), LastSentAt: orNull(f.Status.SentAt),
			LastError: f.Status.Error, LastErrorAt: orNull(f.Status.ErrorAt), FailedTries: f.Status.FailedTries,
			SamplesSent: f.Status.Sent, SamplesRejected: f.Status.Rejected, SkippedSeconds: f.Status.Skipped.Seconds(),
		},
	}
	if v.ExternalLabels == nil {
		v.ExternalLabels = map[string]string{}
	}
	if v.Metrics == nil {
		v.Metrics = []string{}
	}
	if v.Headers == nil {
		v.Headers = []string{}
	}
	return v
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// ForwardPath is the part of a path that names a forward.
type ForwardPath struct {
	Name string `path:"name" doc:"The forward's name: 1 to 63 of a-z, 0-9 and -, not - at an end."`
}

// known is the name, unless no forward can have it.
func (p ForwardPath) known() (string, error) {
	if !forward.ValidName(p.Name) {
		return "", fault.New(fault.NotFound, "there is no such thing")
	}
	return p.Name, nil
}

type oneForward struct {
	Status int
	Body   forwardView
}

func (a *API) listForwards(ctx context.Context, who tenant.Identity, _ *struct{}) (*list[forwardView], error) {
	all, err := a.store.Forwards(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	out := &list[forwardView]{Body: listBody[forwardView]{Items: make([]forwardView, len(all))}}
	for i, f := range all {
		out.Body.Items[i] = viewForward(f, a.now())
	}
	return out, nil
}

func (a *API) getForward(ctx context.Context, who tenant.Identity, in *ForwardPath) (*oneForward, error) {
	name, err := in.known()
	if err != nil {
		return nil, err
	}
	f, err := a.store.Forward(ctx, who.Org, name)
	if err != nil {
		return nil, err
	}
	return &oneForward{Status: http.StatusOK, Body: viewForward(f, a.now())}, nil
}

type putForwardInput struct {
	ForwardPath
	Body forwardFields
}

func (a *API) putForward(ctx context.Context, who tenant.Identity, in *putForwardInput) (*oneForward, error) {
	config, secret, err := in.read()
	if err != nil {
		return nil, err
	}
	sealed, err := a.seal(secret, forward.About(who.Org, in.Name))
	if err != nil {
		return nil, err
	}
	created, err := a.store.PutForward(ctx, who.Org, forward.Forward{Name: in.Name, Config: config, Hints: secret.Hints(), Sealed: sealed})
	if err != nil {
		return nil, err
	}
	out, err := a.getForward(ctx, who, &in.ForwardPath)
	if err == nil && created {
		out.Status = http.StatusCreated
	}
	return out, err
}

// read makes a configuration and its secret of the fields, with the defaults where they say nothing. The error names every fault
// by its place in the body, and is made for the client.
func (in *putForwardInput) read() (forward.Config, forward.Secret, error) {
	var v violations
	f := &in.Body
	if !forward.ValidName(in.Name) {
		v.add("path.name", "must be 1 to 63 of a-z, 0-9 and -, not - at an end", in.Name)
	}
	var interval model.Duration
	v.duration("body.interval", f.Interval, &interval)
	config := forward.Config{
		Kind: f.Kind, URL: f.URL, Site: f.Site, Interval: time.Duration(interval), ExternalLabels: f.ExternalLabels, Metrics: f.Metrics,
	}.Normalise()
	secret := forward.Secret{Headers: f.Headers, Bearer: f.BearerToken, APIKey: f.APIKey}
	if f.Basic != nil {
		secret.Username, secret.Password = f.Basic.Username, f.Basic.Password
	}
	for _, one := range forward.Validate(config, secret) {
		v.add("body."+one.Field, one.Message, nil) // without the value: it may be a secret
	}
	return config, secret, v.err()
}

func (a *API) seal(s forward.Secret, about []byte) ([]byte, error) {
	if a.secrets == nil {
		return nil, fault.New(fault.Unavailable, "this server has no secret key to seal secrets with")
	}
	plain, err := json.Marshal(s) //nolint:gosec // it is sealed at once
	if err != nil {
		return nil, err
	}
	return a.secrets.Seal(plain, about)
}

func (a *API) deleteForward(ctx context.Context, who tenant.Identity, in *ForwardPath) (*struct{}, error) {
	name, err := in.known()
	if err != nil {
		return nil, err
	}
	return nil, a.store.DeleteForward(ctx, who.Org, name)
}
