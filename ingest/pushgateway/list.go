package pushgateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// maxListed is how many groups a list has at most.
const maxListed = 10_000

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
	data := []map[string]any{}
	for after := []byte(nil); err == nil && len(data) < maxListed; {
		var groups []series.Group
		if groups, err = g.o.Groups.PushGroups(r.Context(), who.Org, after, page); err != nil {
			break
		}
		for i := range groups {
			data = append(data, show(&groups[i]))
		}
		if len(groups) < page {
			break
		}
		key := series.GroupKey(groups[len(groups)-1].Labels)
		after = key[:]
	}
	status := http.StatusOK
	if err != nil {
		status = g.fail(w, r, err)
	} else {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data})
	}
	g.metrics.answered(r.Method, status, g.o.Clock().Sub(begun))
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
	name := labels[admit.MetricName]
	delete(labels, admit.MetricName)
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
