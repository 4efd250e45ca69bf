package promapi

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"runtime"
	"slices"
	"strconv"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/series"
)

// prometheusVersion is the release whose engine and API this is: v0.316 of the module.
const prometheusVersion = "3.16.0"

// buildInfo answers which Prometheus this behaves as; Grafana decides by it what it may ask.
func (a *API) buildInfo(context.Context, *request) (*answer, error) {
	return &answer{data: func(j *jsonWriter) {
		j.any(struct {
			Version   string `json:"version"`
			Revision  string `json:"revision"`
			Branch    string `json:"branch"`
			BuildUser string `json:"buildUser"`
			BuildDate string `json:"buildDate"`
			GoVersion string `json:"goVersion"`
		}{Version: prometheusVersion, Revision: a.version, Branch: "tokiflow", BuildUser: "tokiflow", GoVersion: runtime.Version()})
	}}, nil
}

// targets answers that nothing is scraped.
func (a *API) targets(context.Context, *request) (*answer, error) {
	return &answer{data: func(j *jsonWriter) {
		j.raw(`{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}`)
	}}, nil
}

// described is a metric's description as Prometheus writes it.
type described struct {
	Type string `json:"type"`
	Unit string `json:"unit"`
	Help string `json:"help"`
}

// metricMetadata answers what metrics mean.
func (a *API) metricMetadata(ctx context.Context, r *request) (*answer, error) {
	limit, err := numberOf(r.form, "limit")
	if err != nil {
		return nil, err
	}
	per, err := numberOf(r.form, "limit_per_metric")
	if err != nil {
		return nil, err
	}
	name := r.form.Get("metric")
	all := map[string][]described{}
	for _, f := range metric.Families() {
		if name == "" || f.Name == name {
			all[f.Name] = append(all[f.Name], described{Type: string(f.Type), Unit: f.Unit, Help: f.Help})
		}
	}
	if a.metadata != nil {
		written, err := a.metadata.Metadata(ctx, r.org, name, max(limit, 0))
		if err != nil {
			return nil, a.failed(ctx, "reading metadata", err)
		}
		for n, list := range written {
			for _, m := range list {
				all[n] = appendNew(all[n], m)
			}
		}
	}
	names := slices.Sorted(maps.Keys(all))
	if limit >= 0 && len(names) > limit {
		names = names[:limit]
	}
	return &answer{data: func(j *jsonWriter) {
		j.raw("{")
		for i, n := range names {
			list := all[n]
			if per > 0 && len(list) > per {
				list = list[:per]
			}
			j.comma(i)
			j.string(n)
			j.raw(":")
			j.any(list)
			j.breathe()
		}
		j.raw("}")
	}}, nil
}

// appendNew adds a description unless it is there.
func appendNew(list []described, m series.Metadata) []described {
	d := described{Type: m.Type, Unit: m.Unit, Help: m.Help}
	if d.Type == "" {
		d.Type = "unknown"
	}
	if slices.Contains(list, d) {
		return list
	}
	return append(list, d)
}

// numberOf is a parameter that limits; −1 where it is missing.
func numberOf(form url.Values, name string) (int, error) {
	v := form.Get(name)
	if v == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		return 0, badData(errors.New(name + " must be a number"))
	}
	return n, nil
}
