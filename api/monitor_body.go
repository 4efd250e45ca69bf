package api

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// monitorFields is what a person may say of a monitor.
type monitorFields struct {
	Name             string            `json:"name" minLength:"1" maxLength:"200" doc:"What people call it; 1 to 200 bytes." example:"Nightly backup"`
	Slug             *string           `json:"slug,omitempty" maxLength:"100" pattern:"^[a-z0-9_-]*$" patternDescription:"of the characters a-z, 0-9, - and _" doc:"Stands in ping URLs in place of the ping key: /ping/{project key}/{slug}. Left out at creation, it is made from the name; empty: none." example:"nightly-backup"`
	Schedule         scheduleFields    `json:"schedule" doc:"When a run is due: either interval, or cron with timezone. Always replaced as a whole."`
	Grace            *duration         `json:"grace,omitempty" default:"5m" doc:"How long after due a ping is still in time."`
	Early            *duration         `json:"early,omitempty" default:"0s" doc:"How long before a cron due moment a ping already counts for it."`
	MaxRuntime       *duration         `json:"max_runtime,omitempty" default:"0s" doc:"How long a run may stay open; 0s: for ever."`
	FailureTolerance *int              `json:"failure_tolerance,omitempty" minimum:"0" maximum:"1000" default:"0" doc:"How many failures in a row are borne before an incident of kind fail opens."`
	ManualResume     *bool             `json:"manual_resume,omitempty" default:"false" doc:"A paused monitor ignores pings, instead of being resumed by them."`
	LateIncidents    *bool             `json:"late_incidents,omitempty" default:"false" doc:"Open an incident of kind late from due to deadline."`
	Tags             []string          `json:"tags,omitempty" maxItems:"50" doc:"Up to 50 words to find monitors by."`
	Labels           map[string]string `json:"labels,omitempty" maxProperties:"50" doc:"Up to 50 Prometheus labels of its incidents and series; the name monitor is taken."`
	Anomaly          *anomalyFields    `json:"anomaly,omitempty" doc:"When the duration of a run is unusual."`
}

type scheduleFields struct {
	Interval *duration `json:"interval,omitempty" doc:"From one success to the next; from 1s."`
	Cron     *string   `json:"cron,omitempty" maxLength:"500" doc:"Five fields, with names, ranges, steps, lists, L and #, or a macro such as @daily."`
	Timezone *string   `json:"timezone,omitempty" maxLength:"100" doc:"IANA time zone of cron; UTC where it is left out."`
}

// TransformSchema gives examples of the whole: one of both fields would be none.
func (scheduleFields) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	for _, p := range s.Properties {
		p.Examples = nil
	}
	s.Examples = []any{
		map[string]any{"interval": "1h"},
		map[string]any{"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
	}
	return s
}

type anomalyFields struct {
	Enabled      *bool     `json:"enabled,omitempty" default:"true"`
	ZScore       *float64  `json:"z_score,omitempty" exclusiveMinimum:"0" default:"3" doc:"Standard deviations from the mean, either way, that are too many."`
	MinRuns      *int      `json:"min_runs,omitempty" minimum:"2" maximum:"1000000" default:"10" doc:"Durations that must be known before any is judged."`
	MinDeviation *duration `json:"min_deviation,omitempty" default:"1s" doc:"The least distance from the mean that can be an anomaly."`
}

// duration is a time span as Prometheus writes it.
type duration string

// Schema describes a duration to clients.
func (duration) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:               huma.TypeString,
		Pattern:            `^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$`,
		PatternDescription: "a duration such as 90s, 1h30m or 1d",
		Examples:           []any{"1h30m"},
	}
}

// document is a JSON object as it came, so that what was said can be told from what was not.
type document map[string]any

// createBody, replaceBody and patchBody are the bodies of POST, PUT and PATCH.
type (
	createBody  document
	replaceBody document
	patchBody   document
)

// Schema is that of the fields and project_id.
func (createBody) Schema(r huma.Registry) *huma.Schema {
	s := fieldsSchema(r)
	s.Title = "MonitorCreate"
	s.Properties["project_id"] = &huma.Schema{Type: huma.TypeString, Format: "uuid", Description: "The project it belongs to; left out: the organisation's first."}
	return s
}

// Schema is that of the fields.
func (replaceBody) Schema(r huma.Registry) *huma.Schema {
	s := fieldsSchema(r)
	s.Title = "MonitorReplace"
	return s
}

// Schema is that of the fields, none of them required, each nullable where null means the default.
func (patchBody) Schema(r huma.Registry) *huma.Schema {
	s := fieldsSchema(r)
	s.Title, s.Required = "MonitorPatch", nil
	for name, p := range s.Properties {
		p.Default = nil // what is left out stays
		if p.Ref == "" && name != "name" {
			p.Nullable = true
		}
	}
	s.Properties["labels"].AdditionalProperties = &huma.Schema{Type: huma.TypeString, Nullable: true}
	return s
}

// fieldsSchema is a fresh copy of the schema of monitorFields.
func fieldsSchema(r huma.Registry) *huma.Schema {
	s := huma.SchemaFromType(r, reflect.TypeFor[monitorFields]())
	return s
}

// merge is RFC 7396 (which replaced 7386): members of patch replace those of target, null removes, objects merge. The
// member schedule is replaced as a whole: half of one schedule and half of another are none.
func merge(target, patch map[string]any) map[string]any {
	out := maps.Clone(target)
	if out == nil {
		out = map[string]any{}
	}
	for name, v := range patch {
		object, isObject := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, name)
		case isObject && name == "schedule":
			out[name] = merge(nil, object)
		case isObject:
			old, _ := out[name].(map[string]any)
			out[name] = merge(old, object)
		default:
			out[name] = v
		}
	}
	return out
}

// documentOf is a configuration as the document that would make it.
func documentOf(c monitor.Config) (document, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var d document
	return d, json.Unmarshal(b, &d)
}

// configOf makes a configuration of a document, with the defaults where it says nothing. The error names every fault by
// its place in the body, and is made for the client.
func configOf(d document) (monitor.Config, error) {
	var f monitorFields
	b, err := json.Marshal(d)
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return monitor.Config{}, huma.Error422UnprocessableEntity(err.Error())
	}
	v := violations{}
	v.misspelt("body", d, reflect.TypeFor[monitorFields](), "project_id")
	c := f.config(&v)
	v.unprintable(c)
	v.validate(c)
	return c, v.err()
}

// config fills the defaults in.
func (f monitorFields) config(v *violations) monitor.Config {
	c := monitor.DefaultConfig()
	c.Name = f.Name
	c.Schedule = schedule.Spec{Interval: 0, Cron: deref(f.Schedule.Cron, ""), Timezone: deref(f.Schedule.Timezone, "")}
	v.duration("body.schedule.interval", f.Schedule.Interval, &c.Schedule.Interval)
	c.Slug = deref(f.Slug, "")
	v.duration("body.grace", f.Grace, &c.Grace)
	v.duration("body.early", f.Early, &c.Early)
	v.duration("body.max_runtime", f.MaxRuntime, &c.MaxRuntime)
	c.FailureTolerance = deref(f.FailureTolerance, c.FailureTolerance)
	c.ManualResume = deref(f.ManualResume, c.ManualResume)
	c.LateIncidents = deref(f.LateIncidents, c.LateIncidents)
	if f.Tags != nil {
		c.Tags = f.Tags
	}
	if f.Labels != nil {
		c.Labels = f.Labels
	}
	if a := f.Anomaly; a != nil {
		c.Anomaly.Enabled = deref(a.Enabled, c.Anomaly.Enabled)
		c.Anomaly.ZScore = deref(a.ZScore, c.Anomaly.ZScore)
		c.Anomaly.MinRuns = deref(a.MinRuns, c.Anomaly.MinRuns)
		v.duration("body.anomaly.min_deviation", a.MinDeviation, &c.Anomaly.MinDeviation)
	}
	return c
}

// projectOf is the project that a create body names.
func projectOf(d document) (*uuid.UUID, error) {
	text, ok := d["project_id"].(string)
	if !ok {
		return nil, nil
	}
	id, err := uuid.Parse(text)
	if err != nil {
		v := violations{}
		v.add("body.project_id", "expected a UUID", text)
		return nil, v.err()
	}
	return &id, nil
}

// slugOf makes a slug of a name; "" where nothing of it can stand in one.
func slugOf(name string) string {
	const longest = 60
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= longest {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
