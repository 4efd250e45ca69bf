package config

import (
	"reflect"
	"strings"

	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/alertmanager/matcher/compat"
	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/common/model"
)

// Receivers are the names of the receivers that an alert with these labels reaches, in the order of the routes; one may come twice.
func (c *Config) Receivers(of map[string]string) []string {
	set := make(model.LabelSet, len(of))
	for name, value := range of {
		set[model.LabelName(name)] = model.LabelValue(value)
	}
	var out []string
	for _, r := range dispatch.NewRoute(c.Shown.Route, nil).Match(set) {
		out = append(out, r.RouteOpts.Receiver)
	}
	return out
}

// RouteTree draws the routes as amtool does: one line for each, with its matchers and its receiver.
func (c *Config) RouteTree() string {
	var b strings.Builder
	b.WriteString(".\n")
	drawRoute(&b, dispatch.NewRoute(c.Shown.Route, nil), "", true)
	return b.String()
}

func drawRoute(b *strings.Builder, r *dispatch.Route, indent string, last bool) {
	name := "default-route"
	if len(r.Matchers) > 0 {
		name = r.Matchers.String()
	}
	if r.Continue {
		name += "  continue: true"
	}
	branch, next := "├── ", "│   "
	if last {
		branch, next = "└── ", "    "
	}
	b.WriteString(indent + branch + name + "  receiver: " + r.RouteOpts.Receiver + "\n")
	for i, child := range r.Routes {
		drawRoute(b, child, indent+next, i == len(r.Routes)-1)
	}
}

// ParseLabels reads labels as amtool takes them: name=value, quoted or not.
func ParseLabels(pairs []string) (map[string]string, error) {
	out := make(map[string]string, len(pairs))
	for _, p := range pairs {
		m, err := compat.Matcher(p, "labels")
		if err != nil {
			return nil, err
		}
		if m.Type != labels.MatchEqual {
			return nil, errLabels
		}
		out[m.Name] = m.Value
	}
	return out, nil
}

// Integrations is how many entries the receivers have together, without those of ours.
func (c *Config) Integrations() int {
	n := 0
	for _, r := range c.Shown.Receivers {
		v := reflect.ValueOf(r)
		for f := range fieldsOf(v.Type()) {
			if list := v.FieldByIndex(f.Index); list.Kind() == reflect.Slice {
				n += list.Len()
			}
		}
	}
	return n
}
