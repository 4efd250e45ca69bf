package api

import (
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// batchPing is one ping of POST /api/v1/pings, for the document only.
type batchPing struct {
	Key      string   `json:"key,omitempty" format:"uuid" doc:"The monitor's ping key; or give slug."`
	Slug     string   `json:"slug,omitempty" doc:"The monitor's slug; or give key."`
	Kind     string   `json:"kind" enum:"success,start,fail,log"`
	RID      string   `json:"rid,omitempty" format:"uuid"`
	ExitCode *int     `json:"exit_code,omitempty" minimum:"0" maximum:"255"`
	Duration *float64 `json:"duration,omitempty" minimum:"0" doc:"Seconds; overrides the measured one."`
	Body     string   `json:"body,omitempty"`
}

type batchAnswer struct {
	Accepted int            `json:"accepted"`
	Rejected []rejectedPing `json:"rejected" nullable:"false"`
}

type rejectedPing struct {
	Index int    `json:"index" doc:"From 0."`
	Error string `json:"error"`
}

// describeBatch puts POST /api/v1/pings into the document; ingest serves it.
func describeBatch(h huma.API) {
	reg := h.OpenAPI().Components.Schemas
	one := reg.Schema(reflect.TypeFor[batchPing](), true, "")
	problem := func(text string) *huma.Response { return &huma.Response{Description: text} }
	h.OpenAPI().AddOperation(&huma.Operation{
		OperationID: "send-pings", Method: http.MethodPost, Path: "/api/v1/pings", Tags: []string{"Pings"},
		Summary:     "Send many pings at once",
		Description: "Up to 10,000 pings or 8 MiB in one durable append; gzip and zstd are accepted. A malformed ping rejects itself only.",
		Security:    security(tenant.ScopePing),
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
			"application/json":     {Schema: &huma.Schema{Type: huma.TypeArray, Items: one}},
			"application/x-ndjson": {Schema: &huma.Schema{Type: huma.TypeString, Description: "One such object a line."}},
		}},
		Responses: map[string]*huma.Response{
			"200": {Description: "OK", Content: map[string]*huma.MediaType{
				"application/json": {Schema: reg.Schema(reflect.TypeFor[batchAnswer](), true, "")},
			}},
			"400": problem("The batch as a whole cannot be read"),
			"401": problem("Unauthorized"),
			"403": problem("Forbidden"),
			"413": problem("Too many pings or bytes"),
			"503": problem("Not durable: nothing is promised, send it again"),
		},
	})
}
