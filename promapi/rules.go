package promapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// RuleGroup is a group of rules and how its last evaluation went.
type RuleGroup struct {
	Name           string
	File           string // where the group comes from; a group's name is unique in it
	Interval       time.Duration
	Limit          int // of alerts or series; 0: none
	Rules          []Rule
	EvaluationTime time.Duration
	LastEvaluation time.Time
}

// Rule is an alerting or a recording rule.
type Rule struct {
	Alerting       bool
	Name           string // of the alert, or of the series
	Query          string
	Labels         map[string]string
	Health         string // ok, err, unknown
	LastError      string
	EvaluationTime time.Duration
	LastEvaluation time.Time

	// Of alerting rules.
	State         string // inactive, pending, firing
	Duration      time.Duration
	KeepFiringFor time.Duration
	Annotations   map[string]string
	Alerts        []Alert
}

// Alert is one alert of a rule, pending or firing.
type Alert struct {
	Labels          map[string]string
	Annotations     map[string]string
	State           string
	ActiveAt        time.Time
	KeepFiringSince time.Time // zero: its condition holds
	Value           float64
}

type alertJSON struct {
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations"`
	State           string            `json:"state"`
	ActiveAt        *time.Time        `json:"activeAt,omitempty"`
	KeepFiringSince *time.Time        `json:"keepFiringSince,omitempty"`
	Value           string            `json:"value"`
}

type alertingJSON struct {
	State          string            `json:"state"`
	Name           string            `json:"name"`
	Query          string            `json:"query"`
	Duration       float64           `json:"duration"`
	KeepFiringFor  float64           `json:"keepFiringFor"`
	Labels         map[string]string `json:"labels"`
	Annotations    map[string]string `json:"annotations"`
	Alerts         []alertJSON       `json:"alerts"`
	Health         string            `json:"health"`
	LastError      string            `json:"lastError,omitempty"`
	EvaluationTime float64           `json:"evaluationTime"`
	LastEvaluation time.Time         `json:"lastEvaluation"`
	Type           string            `json:"type"`
}

type recordingJSON struct {
	Name           string            `json:"name"`
	Query          string            `json:"query"`
	Labels         map[string]string `json:"labels"`
	Health         string            `json:"health"`
	LastError      string            `json:"lastError,omitempty"`
	EvaluationTime float64           `json:"evaluationTime"`
	LastEvaluation time.Time         `json:"lastEvaluation"`
	Type           string            `json:"type"`
}

type groupJSON struct {
	Name           string    `json:"name"`
	File           string    `json:"file"`
	Rules          []any     `json:"rules"`
	Interval       float64   `json:"interval"`
	Limit          int       `json:"limit"`
	EvaluationTime float64   `json:"evaluationTime"`
	LastEvaluation time.Time `json:"lastEvaluation"`
}

type groupsJSON struct {
	Groups []groupJSON `json:"groups"`
	Next   string      `json:"groupNextToken,omitempty"`
}

// ruleFilter is what the parameters of /rules leave.
type ruleFilter struct {
	names, groups, files []string
	matchers             [][]*labels.Matcher
	kind                 string // "", alert, record
	noAlerts             bool
	limit                int // groups; 0: all
	token                string
}

func (a *API) ruleGroups(ctx context.Context, r *request) (*answer, error) {
	f, err := a.ruleFilterOf(r.form)
	if err != nil {
		return nil, err
	}
	all, err := a.allGroups(ctx, r)
	if err != nil {
		return nil, err
	}
	if f.token != "" {
		from := slices.IndexFunc(all, func(g RuleGroup) bool { return g.token() == f.token })
		if from < 0 {
			return nil, badParameter("group_next_token", fmt.Errorf("invalid group_next_token '%v'. were rule groups changed?", f.token))
		}
		all = all[from:]
	}
	out := groupsJSON{Groups: []groupJSON{}}
	for i := range all {
		g, ok := f.group(&all[i])
		if !ok {
			continue
		}
		if f.limit > 0 && len(out.Groups) == f.limit {
			out.Next = all[i].token()
			break
		}
		out.Groups = append(out.Groups, g)
	}
	return &answer{data: func(j *jsonWriter) { j.any(out) }}, nil
}

func (a *API) alerts(ctx context.Context, r *request) (*answer, error) {
	all, err := a.allGroups(ctx, r)
	if err != nil {
		return nil, err
	}
	out := []alertJSON{}
	for i := range all {
		for k := range all[i].Rules {
			out = append(out, alertsOf(&all[i].Rules[k])...)
		}
	}
	return &answer{data: func(j *jsonWriter) {
		j.raw(`{"alerts":`)
		j.any(out)
		j.raw("}")
	}}, nil
}

func (a *API) allGroups(ctx context.Context, r *request) ([]RuleGroup, error) {
	if a.rules == nil {
		return nil, nil
	}
	g, err := a.rules.RuleGroups(ctx, r.org)
	return g, a.failed(ctx, "reading rules", err)
}

func (a *API) ruleFilterOf(form url.Values) (f ruleFilter, err error) {
	f = ruleFilter{names: form["rule_name[]"], groups: form["rule_group[]"], files: form["file[]"], kind: strings.ToLower(form.Get("type"))}
	if f.matchers, err = a.matchersOf(form); err != nil {
		return f, err
	}
	if f.kind != "" && f.kind != "alert" && f.kind != "record" {
		return f, badParameter("type", fmt.Errorf("not supported value %q", f.kind))
	}
	if v := form.Get("exclude_alerts"); v != "" {
		if f.noAlerts, err = strconv.ParseBool(strings.ToLower(v)); err != nil {
			return f, badParameter("exclude_alerts", fmt.Errorf("error converting exclude_alerts: %w", err))
		}
	}
	f.token = form.Get("group_next_token")
	v := form.Get("group_limit")
	if v == "" {
		if f.token != "" {
			return f, badParameter("group_next_token", errors.New("group_limit needs to be present in order to paginate over the groups"))
		}
		return f, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return f, badParameter("group_limit", fmt.Errorf("group_limit needs to be a valid number: %w", err))
	}
	if n <= 0 {
		return f, badParameter("group_limit", errors.New("group_limit needs to be greater than 0"))
	}
	f.limit = int(n)
	return f, nil
}

// group is what the filter leaves of a group; ok is false where that is no rule.
func (f *ruleFilter) group(g *RuleGroup) (out groupJSON, ok bool) {
	if !among(f.groups, g.Name) || !among(f.files, g.File) {
		return out, false
	}
	out = groupJSON{
		Name: g.Name, File: g.File, Interval: g.Interval.Seconds(), Limit: g.Limit,
		EvaluationTime: g.EvaluationTime.Seconds(), LastEvaluation: g.LastEvaluation,
	}
	for i := range g.Rules {
		if r := &g.Rules[i]; among(f.names, r.Name) && f.takes(r) {
			out.Rules = append(out.Rules, f.rule(r))
		}
	}
	return out, len(out.Rules) > 0
}

func (f *ruleFilter) takes(r *Rule) bool {
	if f.kind == "alert" && !r.Alerting || f.kind == "record" && r.Alerting {
		return false
	}
	if len(f.matchers) == 0 {
		return true
	}
	return slices.ContainsFunc(f.matchers, func(set []*labels.Matcher) bool {
		return !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return !m.Matches(r.Labels[m.Name]) })
	})
}

func (f *ruleFilter) rule(r *Rule) any {
	if !r.Alerting {
		return recordingJSON{
			Name: r.Name, Query: r.Query, Labels: orEmpty(r.Labels), Health: r.Health, LastError: r.LastError,
			EvaluationTime: r.EvaluationTime.Seconds(), LastEvaluation: r.LastEvaluation, Type: "recording",
		}
	}
	out := alertingJSON{
		State: r.State, Name: r.Name, Query: r.Query, Duration: r.Duration.Seconds(), KeepFiringFor: r.KeepFiringFor.Seconds(),
		Labels: orEmpty(r.Labels), Annotations: orEmpty(r.Annotations), Health: r.Health, LastError: r.LastError,
		EvaluationTime: r.EvaluationTime.Seconds(), LastEvaluation: r.LastEvaluation, Type: "alerting",
	}
	if !f.noAlerts {
		out.Alerts = alertsOf(r)
	}
	return out
}

func alertsOf(r *Rule) []alertJSON {
	out := make([]alertJSON, len(r.Alerts))
	for i := range r.Alerts {
		a := &r.Alerts[i]
		out[i] = alertJSON{
			Labels: orEmpty(a.Labels), Annotations: orEmpty(a.Annotations), State: a.State, ActiveAt: &a.ActiveAt,
			Value: strconv.FormatFloat(a.Value, 'e', -1, 64),
		}
		if !a.KeepFiringSince.IsZero() {
			out[i].KeepFiringSince = &a.KeepFiringSince
		}
	}
	return out
}

func (g *RuleGroup) token() string {
	h := sha256.Sum256([]byte(g.File + ";" + g.Name))
	return hex.EncodeToString(h[:])
}

func among(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
