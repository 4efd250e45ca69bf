package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// AlertingConfigs reads and changes how an organisation's alerts are routed. What it reads has <secret> for each secret.
type AlertingConfigs interface {
	Get(ctx context.Context, org tenant.OrgID) (alert.Configuration, error)
	// Put checks and stores it, and returns what is then there; unless dryRun, which stores nothing. ifVersion below 0: whatever is
	// there. What the client must correct is a fault of code invalid; it may wrap several errors.
	Put(ctx context.Context, org tenant.OrgID, c alert.Configuration, by uuid.UUID, ifVersion int64, dryRun bool) (alert.Configuration, error)
	Delete(ctx context.Context, org tenant.OrgID, by uuid.UUID, ifVersion int64) error
	// Test returns the receivers that an alert with these labels reaches, in the order of the routes.
	Test(ctx context.Context, org tenant.OrgID, labels map[string]string) ([]string, error)
}

// maxAlertingConfig is how many bytes a configuration with its templates may have as JSON.
const maxAlertingConfig = 4 << 20

func (a *API) alertingConfigOperations(h huma.API) {
	tags := []string{"Alerting"}
	const path = "/api/v1/alerting/config"
	operation(a, h, huma.Operation{
		OperationID: "get-alerting-config", Method: http.MethodGet, Path: path, Tags: tags, Responses: alertingResponses(h),
		Summary: "Read the alerting configuration", Description: "Alertmanager's YAML with the templates, as they were written, with <secret> for each secret. " +
			"Where application/yaml is asked for, the YAML alone. The ETag is its version.",
	}, tenant.ScopeRead, a.getAlertingConfig)
	operation(a, h, huma.Operation{
		OperationID: "put-alerting-config", Method: http.MethodPut, Path: path, Tags: tags, Responses: alertingResponses(h),
		Summary: "Replace the alerting configuration", Description: "Everything is checked first; a configuration with a mistake changes nothing, and every mistake is told with " +
			"its line. <secret> stands for what is stored at that place. As application/yaml it is the YAML alone, and the templates stay. " +
			"With If-Match (or version in the body) it is refused where somebody has changed it since.",
		MaxBodyBytes: maxAlertingConfig, SkipValidateBody: true,
		Errors:      []int{http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
		RequestBody: &huma.RequestBody{Required: true, Content: alertingContent(h, alertingConfigInput{})},
	}, tenant.ScopeWrite, a.putAlertingConfig)
	operation(a, h, huma.Operation{
		OperationID: "delete-alerting-config", Method: http.MethodDelete, Path: path, Tags: tags, DefaultStatus: http.StatusNoContent,
		Summary: "Return to the default alerting configuration", Description: "Its secrets are gone with it.",
		Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, tenant.ScopeWrite, a.deleteAlertingConfig)
	operation(a, h, huma.Operation{
		OperationID: "test-alerting-routes", Method: http.MethodGet, Path: "/api/v1/alerting/routes/test", Tags: tags,
		Summary: "Say which receivers an alert reaches", Description: "By the configuration in force, as `amtool config routes test` does.",
	}, tenant.ScopeRead, a.testAlertingRoutes)
}

func alertingContent(h huma.API, view any) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{
		jsonType: {Schema: h.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(view), true, "")},
		yamlType: {Schema: &huma.Schema{Type: huma.TypeString, Description: "Alertmanager's YAML."}},
	}
}

func alertingResponses(h huma.API) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: "OK", Content: alertingContent(h, alertingConfigView{})}}
}

// alertingConfigInput is what a person says of the configuration.
type alertingConfigInput struct {
	YAML      string            `json:"yaml" doc:"Alertmanager's YAML, of 1 MiB at most."`
	Templates map[string]string `json:"templates,omitempty" doc:"Texts of templates by the names that templates: has for them. Left out: none."`
	Version   *int64            `json:"version,omitempty" doc:"The version that is to be replaced; left out: whatever is there."`
	UpdatedAt *time.Time        `json:"updated_at,omitempty" readOnly:"true" doc:"Passed over: what was read may be put back."`
	Default   bool              `json:"default,omitempty" readOnly:"true" doc:"Passed over."`
}

type alertingConfigView struct {
	YAML      string            `json:"yaml" doc:"Alertmanager's YAML, with <secret> for each secret."`
	Templates map[string]string `json:"templates" nullable:"false" doc:"By name."`
	Version   int64             `json:"version" doc:"Rises with every change; 0: none was put yet."`
	UpdatedAt *time.Time        `json:"updated_at" doc:"null: none was put yet."`
	Default   bool              `json:"default" doc:"It is the one that counts where none was put."`
}

type alertingConfigDocument struct {
	ContentType string `header:"Content-Type"`
	ETag        string `header:"ETag"`
	Body        []byte
}

// errNoAlerting is what a server answers that routes no alerts.
func errNoAlerting() error { return fault.New(fault.Unavailable, "this server routes no alerts") }

func alertingDocument(c alert.Configuration, asYAML bool) (*alertingConfigDocument, error) {
	out := &alertingConfigDocument{ContentType: yamlType, ETag: strconv.Quote(strconv.FormatInt(c.Version, 10)), Body: []byte(c.YAML)}
	if asYAML {
		return out, nil
	}
	v := alertingConfigView{YAML: c.YAML, Templates: c.Templates, Version: c.Version, UpdatedAt: orNull(c.UpdatedAt), Default: c.Default}
	if v.Templates == nil {
		v.Templates = map[string]string{}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // <secret> is to be read by people
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	out.ContentType, out.Body = jsonType, b.Bytes()
	return out, nil
}

// yaml reports whether the client wants YAML: it names it. JSON is what it gets else.
func (n *negotiated) yaml() bool { return strings.Contains(n.accept, "yaml") }

type getAlertingConfigInput struct{ negotiated }

func (a *API) getAlertingConfig(ctx context.Context, who tenant.Identity, in *getAlertingConfigInput) (*alertingConfigDocument, error) {
	if a.alerting == nil {
		return nil, errNoAlerting()
	}
	c, err := a.alerting.Get(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	return alertingDocument(c, in.yaml())
}

// VersionHeader is the version that a client wants to change.
type VersionHeader struct {
	IfMatch string `header:"If-Match" maxLength:"40" doc:"The ETag of what is to be changed. Left out: whatever is there."`
}

// version is the number; below 0: any.
func (m VersionHeader) version() (int64, error) {
	text := strings.Trim(strings.TrimPrefix(m.IfMatch, "W/"), `"`)
	if text == "" || text == "*" {
		return -1, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Conflict, "If-Match is no version of the alerting configuration: read it again")
	}
	return n, nil
}

type putAlertingConfigInput struct {
	negotiated
	VersionHeader

	DryRun  bool `query:"dry_run" doc:"Check it, and store nothing."`
	RawBody []byte
}

func (a *API) putAlertingConfig(ctx context.Context, who tenant.Identity, in *putAlertingConfigInput) (*alertingConfigDocument, error) {
	if a.alerting == nil {
		return nil, errNoAlerting()
	}
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	body, isYAML, err := in.read()
	if err != nil {
		return nil, err
	}
	if body.Version != nil {
		version = *body.Version
	}
	c := alert.Configuration{YAML: body.YAML, Templates: body.Templates}
	if isYAML { // the templates stay
		now, err := a.alerting.Get(ctx, who.Org)
		if err != nil {
			return nil, err
		}
		c.Templates = now.Templates
	}
	out, err := a.alerting.Put(ctx, who.Org, c, who.Key, version, in.DryRun)
	if err != nil {
		return nil, alertingViolations(err, isYAML)
	}
	return alertingDocument(out, in.yaml())
}

// read takes the body apart. isYAML: it is the YAML alone.
func (in *putAlertingConfigInput) read() (body alertingConfigInput, isYAML bool, err error) {
	kind, _, err := mime.ParseMediaType(in.contentType)
	if err != nil && in.contentType != "" {
		return body, false, huma.Error415UnsupportedMediaType("the Content-Type cannot be read")
	}
	switch kind {
	case yamlType, "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain", "application/octet-stream":
		return alertingConfigInput{YAML: string(in.RawBody)}, true, nil
	case "", jsonType, "application/x-www-form-urlencoded":
	default:
		return body, false, huma.Error415UnsupportedMediaType("send the configuration as application/json or application/yaml")
	}
	d := json.NewDecoder(bytes.NewReader(in.RawBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return body, false, huma.Error400BadRequest("the body is not the JSON of a configuration: " + err.Error())
	}
	if d.More() {
		return body, false, huma.Error400BadRequest("the body has more than one JSON value")
	}
	return body, false, nil
}

// alertingViolations makes an answer of what is wrong with a configuration: one error for each mistake.
func alertingViolations(err error, isYAML bool) error {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Code != fault.Invalid {
		return err
	}
	all := []error{err}
	if several, ok := f.Err.(interface{ Unwrap() []error }); ok {
		all = several.Unwrap()
	}
	v := violations{}
	for _, one := range all {
		text := one.Error()
		where := "body.yaml"
		if isYAML {
			where = "body"
		}
		if _, rest, found := strings.Cut(text, "line "); !found || len(text) != len("line ")+len(rest) {
			where = "body"
		}
		v.add(where, strings.ToValidUTF8(text, "\uFFFD"), nil)
	}
	return v.err()
}

func (a *API) deleteAlertingConfig(ctx context.Context, who tenant.Identity, in *VersionHeader) (*noContent, error) {
	if a.alerting == nil {
		return nil, errNoAlerting()
	}
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return nil, a.alerting.Delete(ctx, who.Org, who.Key, version)
}

type testRoutesInput struct {
	Labels []string `query:"label,explode" required:"true" minItems:"1" maxItems:"100" doc:"A label of the alert as name=value; repeated for each." example:"severity=critical"`
}

type testRoutesOutput struct {
	Body struct {
		Receivers []string `json:"receivers" nullable:"false" doc:"In the order of the routes; one may come twice."`
	}
}

func (a *API) testAlertingRoutes(ctx context.Context, who tenant.Identity, in *testRoutesInput) (*testRoutesOutput, error) {
	if a.alerting == nil {
		return nil, errNoAlerting()
	}
	labels := map[string]string{}
	v := violations{}
	for i, l := range in.Labels {
		name, value, ok := strings.Cut(l, "=")
		if !ok || name == "" {
			v.add(fmt.Sprintf("query.label[%d]", i), "must be name=value", l)
			continue
		}
		labels[name] = value
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	receivers, err := a.alerting.Test(ctx, who.Org, labels)
	if err != nil {
		return nil, err
	}
	out := &testRoutesOutput{}
	out.Body.Receivers = append([]string{}, receivers...)
	return out, nil
}
