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

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
)

// ruleFile is what stands for the file that a group comes from: there are none, and a group's name is unique.
const ruleFile = "tokiflow"

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
		from := slices.IndexFunc(all, func(g rule.Status) bool { return tokenOf(g.Name) == f.token })
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
			out.Next = tokenOf(all[i].Name)
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

func (a *API) allGroups(ctx context.Context, r *request) ([]rule.Status, error) {
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
func (f *ruleFilter) group(g *rule.Status) (out groupJSON, ok bool) {
	if !among(f.groups, g.Name) || !among(f.files, ruleFile) {
		return out, false
	}
	out = groupJSON{
		Name: g.Name, File: ruleFile, Interval: g.Every().Seconds(), Limit: g.Limit,
		EvaluationTime: g.Took.Seconds(), LastEvaluation: g.Evaluated,
	}
	for i := range g.Rules {
		r := &g.Rules[i]
		if own := labelMap(g.LabelsOf(r.Definition)); among(f.names, r.Name()) && f.takes(r, own) {
			out.Rules = append(out.Rules, f.rule(r, own))
		}
	}
	return out, len(out.Rules) > 0
}

func (f *ruleFilter) takes(r *rule.Standing, own map[string]string) bool {
	if f.kind == "alert" && r.Kind() != rule.Alerting || f.kind == "record" && r.Kind() != rule.Recording {
		return false
	}
	if len(f.matchers) == 0 {
		return true
	}
	return slices.ContainsFunc(f.matchers, func(set []*labels.Matcher) bool {
		return !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return !m.Matches(own[m.Name]) })
	})
}

func (f *ruleFilter) rule(r *rule.Standing, own map[string]string) any {
	p := &r.Progress
	if r.Kind() == rule.Recording {
		return recordingJSON{
			Name: r.Name(), Query: r.Expr, Labels: own, Health: string(p.Health), LastError: p.LastError,
			EvaluationTime: p.Took.Seconds(), LastEvaluation: p.Evaluated, Type: string(rule.Recording),
		}
	}
	out := alertingJSON{
		State: string(p.State()), Name: r.Name(), Query: r.Expr, Duration: r.For.Seconds(), KeepFiringFor: r.KeepFiringFor.Seconds(),
		Labels: own, Annotations: orEmpty(r.Annotations), Health: string(p.Health), LastError: p.LastError,
		EvaluationTime: p.Took.Seconds(), LastEvaluation: p.Evaluated, Type: string(rule.Alerting),
	}
	if !f.noAlerts {
		out.Alerts = alertsOf(r)
	}
	return out
}

// alertsOf are the rule's alerts but for those that are resolved.
func alertsOf(r *rule.Standing) []alertJSON {
	out := []alertJSON{}
	for i := range r.Progress.Alerts {
		a := &r.Progress.Alerts[i]
		if !a.Active() {
			continue
		}
		shown := alertJSON{
			Labels: labelMap(a.Labels), Annotations: labelMap(a.Annotations), State: string(a.State), ActiveAt: &a.ActiveAt,
			Value: strconv.FormatFloat(float64(a.Value), 'e', -1, 64),
		}
		if !a.KeepSince.IsZero() {
			shown.KeepFiringSince = &a.KeepSince
		}
		out = append(out, shown)
	}
	return out
}

func tokenOf(group string) string {
	h := sha256.Sum256([]byte(ruleFile + ";" + group))
	return hex.EncodeToString(h[:])
}

func labelMap(l []series.Label) map[string]string {
	m := make(map[string]string, len(l))
	for _, x := range l {
		m[x.Name] = x.Value
	}
	return m
}

func among(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
