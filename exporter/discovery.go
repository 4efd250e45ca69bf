package exporter

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// target is a target group of Prometheus' http_sd.
type target struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// discover answers GET and HEAD /sd/prometheus: where the monitors of the key's organisation are scraped, as one target or,
// with ?by=project, as one for each project. It always has the whole list; where that cannot be had it fails, upon which
// Prometheus goes on with the list it has.
func (e *Exporter) discover(w http.ResponseWriter, r *http.Request) {
	groups, err := e.targets(r)
	if err != nil {
		e.refuse(w, r, err)
		return
	}
	b, err := json.Marshal(groups)
	if err != nil {
		e.refuse(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	if r.Method != http.MethodHead {
		_, _ = w.Write(append(b, '\n')) // the client may be gone
	}
}

func (e *Exporter) targets(r *http.Request) ([]target, error) {
	who, err := e.keys.Request(r, tenant.ScopeMetrics)
	if err != nil {
		return nil, err
	}
	byProject, err := byProject(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	one := e.target(r)
	if !byProject {
		return []target{one}, nil
	}
	fl, _, err := e.fleets.of(r.Context(), who.Org)
	if err != nil {
		return nil, err
	}
	groups := []target{}
	for _, p := range fl.projects() {
		labels := maps.Clone(one.Labels)
		labels["__param_project"] = p
		// Else the targets' own series (up, scrape_duration_seconds) would be told apart by nothing.
		labels["instance"] = one.Targets[0] + "/" + p
		groups = append(groups, target{Targets: one.Targets, Labels: labels})
	}
	return groups, nil
}

// byProject reads the only parameter. The error is a fault of code invalid.
func byProject(query string) (bool, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return false, fault.New(fault.Invalid, "the parameters cannot be read: "+err.Error())
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if key != "by" {
			return false, fault.New(fault.Invalid, fmt.Sprintf("there is no parameter %q. There is: by=project", key))
		}
		for _, v := range values[key] {
			if v != "project" {
				return false, fault.New(fault.Invalid, fmt.Sprintf("by=%q is not known. There is: by=project", v))
			}
		}
	}
	return len(values["by"]) > 0, nil
}

// target is the scrape of everything: at the base URL or, where there is none, at where the request came.
func (e *Exporter) target(r *http.Request) target {
	base := e.base
	if base == nil {
		base = &url.URL{Scheme: "http", Host: r.Host}
		if r.TLS != nil {
			base.Scheme = "https"
		}
	}
	port := base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[base.Scheme]
	}
	return target{
		Targets: []string{net.JoinHostPort(base.Hostname(), port)},
		Labels:  map[string]string{"__scheme__": base.Scheme, "__metrics_path__": strings.TrimRight(base.Path, "/") + "/metrics/monitors"},
	}
}

// projects are the slugs of the projects that have monitors. A monitor without one is about to vanish.
func (f *fleet) projects() []string {
	seen := map[string]bool{}
	for _, b := range f.blocks {
		if len(b.entries) > 0 && b.project != "" {
			seen[b.project] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
