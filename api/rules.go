package api

import (
	"bytes"
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Rules reads and changes groups of rules. A changed group keeps the alerts of the rules that stay.
type Rules interface {
	RuleDefinitions(ctx context.Context, org tenant.OrgID) ([]rule.Group, error)
	RuleDefinition(ctx context.Context, org tenant.OrgID, name string) (rule.Group, error)
	PutRuleGroup(ctx context.Context, org tenant.OrgID, g rule.Group, now time.Time) (created bool, err error)
	DeleteRuleGroup(ctx context.Context, org tenant.OrgID, name string) error
}

// RuleFormat reads and writes rules as Prometheus' rule files have them. The errors of ParseGroup are for the client.
type RuleFormat interface {
	ParseGroup(name string, document []byte) (rule.Group, []error)
	MarshalGroup(g rule.Group) ([]byte, error)
	MarshalFile(groups []rule.Group) ([]byte, error)
}

const (
	yamlType = "application/yaml"
	jsonType = "application/json"
)

func (a *API) ruleOperations(h huma.API) {
	tags := []string{"Rules"}
	operation(a, h, huma.Operation{
		OperationID: "list-rule-groups", Method: http.MethodGet, Path: "/api/v1/rules", Tags: tags, Responses: ruleResponses(h, ruleFileView{}, "200"),
		Summary: "Read all rule groups", Description: "As a rule file of Prometheus: YAML, or JSON where that is asked for.",
	}, tenant.ScopeRead, a.listRuleGroups)
	operation(a, h, huma.Operation{
		OperationID: "get-rule-group", Method: http.MethodGet, Path: "/api/v1/rules/{group}", Tags: tags, Responses: ruleResponses(h, ruleGroupView{}, "200"),
		Summary: "Read a rule group", Description: "One element of a rule file's list groups.",
	}, tenant.ScopeRead, a.getRuleGroup)
	operation(a, h, huma.Operation{
		OperationID: "put-rule-group", Method: http.MethodPut, Path: "/api/v1/rules/{group}", Tags: tags, Responses: ruleResponses(h, ruleGroupView{}, "200", "201"),
		Summary: "Create or replace a rule group", Description: "One element of a rule file's list groups, in YAML or JSON; its name may be left out. " +
			"Nothing changes unless all of it is valid. Rules that stay keep their alerts.",
		MaxBodyBytes: maxBody, SkipValidateBody: true, Errors: []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
		RequestBody: &huma.RequestBody{Required: true, Content: ruleContent(h, ruleGroupView{})},
	}, tenant.ScopeWrite, a.putRuleGroup)
	operation(a, h, huma.Operation{
		OperationID: "delete-rule-group", Method: http.MethodDelete, Path: "/api/v1/rules/{group}", Tags: tags,
		Summary: "Delete a rule group", Description: "Its firing alerts are resolved, and its series end, with the group's next evaluation.",
	}, tenant.ScopeWrite, a.deleteRuleGroup)
}

// ruleContent describes a document that is there as YAML and as JSON.
func ruleContent(h huma.API, view any) map[string]*huma.MediaType {
	schema := h.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(view), true, "")
	return map[string]*huma.MediaType{yamlType: {Schema: schema}, jsonType: {Schema: schema}}
}

func ruleResponses(h huma.API, view any, statuses ...string) map[string]*huma.Response {
	out := map[string]*huma.Response{}
	for _, s := range statuses {
		out[s] = &huma.Response{Description: map[string]string{"200": "OK", "201": "Created"}[s], Content: ruleContent(h, view)}
	}
	return out
}

// negotiated is what a request says of the form of documents.
type negotiated struct{ accept, contentType string }

// Resolve notes the headers.
func (n *negotiated) Resolve(ctx huma.Context) []error {
	n.accept, n.contentType = ctx.Header("Accept"), ctx.Header("Content-Type")
	return nil
}

// json reports whether the client wants JSON: it names it, and does not name YAML.
func (n *negotiated) json() bool {
	return strings.Contains(n.accept, jsonType) && !strings.Contains(n.accept, "yaml")
}

// RuleGroupPath is the part of a path that names a group.
type RuleGroupPath struct {
	Group string `path:"group" doc:"The group's name, escaped where it has characters that are not of a path."`
}

// known is the name, unless no group can have it.
func (p RuleGroupPath) known() (string, error) {
	if !utf8.ValidString(p.Group) || strings.ContainsRune(p.Group, 0) {
		return "", fault.New(fault.NotFound, "there is no such thing")
	}
	return p.Group, nil
}

type ruleDocument struct {
	Status      int
	ContentType string `header:"Content-Type"`
	Body        []byte
}

type listRulesInput struct{ negotiated }

func (a *API) listRuleGroups(ctx context.Context, who tenant.Identity, in *listRulesInput) (*ruleDocument, error) {
	groups, err := a.store.RuleDefinitions(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	v := ruleFileView{Groups: make([]ruleGroupView, len(groups))}
	for i, g := range groups {
		v.Groups[i] = viewRuleGroup(g)
	}
	return a.ruleDocument(http.StatusOK, in.json(), v, func(f RuleFormat) ([]byte, error) { return f.MarshalFile(groups) })
}

type ruleGroupInput struct {
	negotiated
	RuleGroupPath
}

func (a *API) getRuleGroup(ctx context.Context, who tenant.Identity, in *ruleGroupInput) (*ruleDocument, error) {
	name, err := in.known()
	if err != nil {
		return nil, err
	}
	g, err := a.store.RuleDefinition(ctx, who.Org, name)
	if err != nil {
		return nil, err
	}
	return a.ruleDocument(http.StatusOK, in.json(), viewRuleGroup(g), func(f RuleFormat) ([]byte, error) { return f.MarshalGroup(g) })
}

// ruleDocument is the answer with a document in the form asked for.
func (a *API) ruleDocument(status int, asJSON bool, view any, asYAML func(RuleFormat) ([]byte, error)) (*ruleDocument, error) {
	if asJSON {
		b, err := json.Marshal(view)
		return &ruleDocument{Status: status, ContentType: jsonType, Body: b}, err
	}
	if a.ruleFormat == nil {
		return nil, errNoRules()
	}
	b, err := asYAML(a.ruleFormat)
	return &ruleDocument{Status: status, ContentType: yamlType, Body: b}, err
}

func errNoRules() error {
	return fault.New(fault.Unavailable, "this server keeps no rules")
}

type putRuleGroupInput struct {
	negotiated
	RuleGroupPath
	RawBody []byte
}

func (a *API) putRuleGroup(ctx context.Context, who tenant.Identity, in *putRuleGroupInput) (*ruleDocument, error) {
	if a.ruleFormat == nil {
		return nil, errNoRules()
	}
	document, err := in.document()
	if err != nil {
		return nil, err
	}
	g, wrong := a.ruleFormat.ParseGroup(in.Group, document)
	if len(wrong) > 0 {
		v := violations{}
		for _, err := range wrong {
			v.add("body", strings.ToValidUTF8(err.Error(), "\uFFFD"), nil)
		}
		return nil, v.err()
	}
	created, err := a.store.PutRuleGroup(ctx, who.Org, g, a.now())
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return a.ruleDocument(status, in.json(), viewRuleGroup(g), func(f RuleFormat) ([]byte, error) { return f.MarshalGroup(g) })
}

// document is the body as YAML. JSON is YAML already, but for some of its escapes.
func (in *putRuleGroupInput) document() ([]byte, error) {
	kind, _, err := mime.ParseMediaType(in.contentType)
	if err != nil && in.contentType != "" {
		return nil, huma.Error415UnsupportedMediaType("the Content-Type cannot be read")
	}
	switch kind {
	case "", yamlType, "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded":
		return in.RawBody, nil
	case jsonType:
	default:
		return nil, huma.Error415UnsupportedMediaType("send the group as application/yaml or application/json")
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(in.RawBody))
	if err := d.Decode(&v); err != nil {
		return nil, huma.Error400BadRequest("the body is not JSON: " + err.Error())
	}
	if d.More() {
		return nil, huma.Error400BadRequest("the body has more than one JSON value")
	}
	return json.Marshal(v)
}

func (a *API) deleteRuleGroup(ctx context.Context, who tenant.Identity, in *RuleGroupPath) (*noContent, error) {
	name, err := in.known()
	if err != nil {
		return nil, err
	}
	return nil, a.store.DeleteRuleGroup(ctx, who.Org, name)
}

// ruleFileView is a rule file in JSON.
type ruleFileView struct {
	Groups []ruleGroupView `json:"groups" nullable:"false"`
}

// ruleGroupView is a group in JSON, with the names that it has in YAML.
type ruleGroupView struct {
	Name        string            `json:"name,omitempty"`
	Interval    string            `json:"interval,omitempty" doc:"How often; 1m where it is left out." example:"1m"`
	QueryOffset string            `json:"query_offset,omitempty" doc:"How far in the past the expressions are asked."`
	Limit       int               `json:"limit,omitempty" doc:"Of the series or alerts of one rule; 0: none but the server's."`
	Labels      map[string]string `json:"labels,omitempty"`
	Rules       []ruleView        `json:"rules" nullable:"false"`
}

type ruleView struct {
	Record        string            `json:"record,omitempty" doc:"The series to record; or give alert."`
	Alert         string            `json:"alert,omitempty" doc:"The name of the alert; or give record."`
	Expr          string            `json:"expr"`
	For           string            `json:"for,omitempty"`
	KeepFiringFor string            `json:"keep_firing_for,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

func viewRuleGroup(g rule.Group) ruleGroupView {
	v := ruleGroupView{Name: g.Name, Interval: span(g.Interval), Limit: g.Limit, Labels: g.Labels, Rules: make([]ruleView, len(g.Rules))}
	if g.QueryOffset != nil {
		v.QueryOffset = model.Duration(*g.QueryOffset).String()
	}
	for i, r := range g.Rules {
		v.Rules[i] = ruleView{
			Record: r.Record, Alert: r.Alert, Expr: r.Expr, For: span(r.For), KeepFiringFor: span(r.KeepFiringFor),
			Labels: r.Labels, Annotations: r.Annotations,
		}
	}
	return v
}

// span writes a duration; none is nothing.
func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return model.Duration(d).String()
}
