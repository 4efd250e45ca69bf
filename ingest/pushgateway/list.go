package pushgateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// listed is a family as the Pushgateway's API shows it.
type listed struct {
	TimeStamp time.Time        `json:"time_stamp"`
	Type      string           `json:"type"`
	Help      string           `json:"help,omitempty"`
	Metrics   []map[string]any `json:"metrics"`
}

// list answers with the organisation's groups, in the form of the Pushgateway's API: an object for each with its labels, whether the
// last push was taken, and its families by their names.
func (g *Gateway) list(w http.ResponseWriter, r *http.Request) {
	begun := g.o.Clock()
	who, err := g.o.Keys.Request(r, tenant.ScopeSamples)
	var groups []series.Group
	if err == nil {
		groups, err = g.o.Groups.PushGroups(r.Context(), who.Org, nil, page)
	}
	status := http.StatusOK
	if err != nil {
		status = g.fail(w, r, err)
	} else {
		w.Header().Set("Content-Type", "application/json")
		if err := g.listAll(r.Context(), w, who.Org, groups); err != nil { // too late for an answer that says so
			g.o.Logger.WarnContext(r.Context(), "a list of pushed groups was cut short", "error", err)
		}
	}
	g.metrics.answered(r.Method, status, g.o.Clock().Sub(begun))
}

// listAll writes groups as they are read, the first of them given: all at once would be too much to hold.
func (g *Gateway) listAll(ctx context.Context, w io.Writer, org tenant.OrgID, groups []series.Group) error {
	if _, err := io.WriteString(w, `{"status":"success","data":[`); err != nil {
		return err
	}
	for first := true; len(groups) > 0; {
		for i := range groups {
			b, err := json.Marshal(show(&groups[i]))
			if err != nil {
				return err
			}
			if !first {
				b = append([]byte{','}, b...)
			}
			first = false
			if _, err := w.Write(b); err != nil {
				return err
			}
		}
		if len(groups) < page {
			break
		}
		key := series.GroupKey(groups[len(groups)-1].Labels)
		var err error
		if groups, err = g.o.Groups.PushGroups(ctx, org, key[:], page); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "]}\n")
	return err
}

func show(group *series.Group) map[string]any {
	out := map[string]any{
		"labels":               labelMap(group.Labels),
		"last_push_successful": group.PushedAt.After(group.FailedAt),
	}
	if !group.ExpiresAt.IsZero() {
		out["expires_at"] = group.ExpiresAt
	}
	families, err := decodeBody(group.Body)
	if err != nil {
		out["error"] = err.Error()
	}
	for _, f := range append(families, ownFamilies(group)...) {
		metrics := make([]map[string]any, 0, len(f.series))
		for i := range f.series {
			metrics = append(metrics, showSeries(f.Name, &f.series[i]))
		}
		out[f.Name] = listed{TimeStamp: group.PushedAt, Type: strings.ToUpper(typeName(f.Type)), Help: f.Help, Metrics: metrics}
	}
	return out
}

// showSeries shows a series by its labels and value. One of a histogram or summary says by name which of its series it is.
func showSeries(family string, s *series.Series) map[string]any {
	labels := labelMap(s.Labels)
	name := labels[series.NameLabel]
	delete(labels, series.NameLabel)
	out := map[string]any{"labels": labels}
	if name != family {
		out["name"] = name
	}
	if len(s.Floats) > 0 {
		out["value"] = strconv.FormatFloat(s.Floats[0].Value, 'g', -1, 64)
	} else {
		out["value"] = "native histogram"
	}
	return out
}

func labelMap(l []series.Label) map[string]string {
	m := make(map[string]string, len(l))
	for i := range l {
		m[l[i].Name] = l[i].Value
	}
	return m
}
