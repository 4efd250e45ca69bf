package api

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// violations collects what is wrong with a body.
type violations struct{ details []error }

func (v *violations) add(location, message string, value any) {
	v.details = append(v.details, &huma.ErrorDetail{Location: location, Message: message, Value: value})
}

func (v *violations) err() error {
	if len(v.details) == 0 {
		return nil
	}
	return huma.NewError(http.StatusUnprocessableEntity, "validation failed", v.details...)
}

func (v *violations) duration(location string, in *duration, out *model.Duration) {
	if in == nil {
		return
	}
	d, err := model.ParseDuration(string(*in))
	if err != nil {
		v.add(location, "expected a duration such as 90s, 1h30m or 1d, of 1000d at most", string(*in))
		return
	}
	*out = d
}

// misspelt refuses names that differ from a field's in case only, which huma lets pass and encoding/json takes.
func (v *violations) misspelt(location string, d map[string]any, t reflect.Type, also ...string) {
	known := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		known[name] = f.Type
	}
	for name, value := range d {
		field, ok := known[name]
		if !ok && !slices.Contains(also, name) {
			v.add(location+"."+name, "unknown field", nil)
			continue
		}
		if field != nil && field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if object, isObject := value.(map[string]any); isObject && field != nil && field.Kind() == reflect.Struct {
			v.misspelt(location+"."+name, object, field)
		}
	}
}

// unprintable refuses characters that have no business in a name or tag, and NUL, which PostgreSQL does not keep.
func (v *violations) unprintable(c monitor.Config) {
	control := func(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }
	if control(c.Name) {
		v.add("body.name", "must not have control characters", nil)
	}
	for i, t := range c.Tags {
		if control(t) {
			v.add(fmt.Sprintf("body.tags[%d]", i), "must not have control characters", nil)
		}
	}
	for name, value := range c.Labels {
		if strings.ContainsRune(value, 0) {
			v.add("body.labels."+name, "must not have the character NUL", nil)
		}
	}
}

// schedule compiles a schedule and says where in it the fault is.
func (v *violations) schedule(location string, spec schedule.Spec) schedule.Schedule {
	s, err := spec.Compile()
	if err == nil {
		return s
	}
	reason := err.Error()
	if fault, ok := errors.AsType[*schedule.Error](err); ok {
		reason = fault.Reason
		if fault.Field != "" {
			location += "." + fault.Field
		}
		if fault.Position > 0 {
			reason = fmt.Sprintf("character %d: %s", fault.Position, fault.Reason)
		}
	}
	v.add(location, reason, nil)
	return s
}

// validate adds what the rules themselves say.
func (v *violations) validate(c monitor.Config) {
	v.schedule("body.schedule", c.Schedule)
	err := c.Validate()
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		faults = joined.Unwrap()
	}
	for _, err := range faults {
		var f *monitor.FieldError
		switch {
		case err == nil:
		case !errors.As(err, &f):
			v.add("body", err.Error(), nil)
		case f.Field != "schedule": // said above, with the place
			v.add("body."+f.Field, f.Reason, nil)
		}
	}
}
