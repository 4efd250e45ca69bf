package metric

import (
	"strings"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/series"
)

// Labels are those of a monitor's tokiflow_monitor_info, sorted by name: id, monitor (its name), project (the project's
// slug), schedule, slug where it has one, tags as ",a,b," (so that tags=~".*,a,.*" is exact; Consul's convention), and its own
// labels as label_<name> (kube-state-metrics' convention).
func Labels(id uuid.UUID, project string, c *monitor.Config) []series.Label {
	var l []series.Label
	add := func(name, value string) {
		if value != "" { // an empty label is none
			l = append(l, series.Label{Name: name, Value: value})
		}
	}
	add(LabelID, id.String())
	add("monitor", c.Name)
	add("project", project)
	add("schedule", c.Schedule.String())
	add("slug", c.Slug)
	if len(c.Tags) > 0 {
		add("tags", ","+strings.Join(c.Tags, ",")+",")
	}
	for k, v := range c.Labels {
		add("label_"+k, v)
	}
	series.Sort(l)
	return l
}
