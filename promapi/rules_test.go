package promapi_test

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/promapi"
)

// groups is a fake.
type groups map[tenant.OrgID][]rule.Status

func (g groups) RuleGroups(_ context.Context, org tenant.OrgID) ([]rule.Status, error) {
	return g[org], nil
}

func twoGroups() []rule.Status {
	at := ago("10s")
	return []rule.Status{
		{
			Group: rule.Group{Name: "one", Interval: 30 * time.Second, Limit: 5}, Took: 2 * time.Millisecond, Evaluated: at,
			Rules: []rule.Standing{
				{
					Definition: rule.Definition{
						Alert: "Down", Expr: "tokiflow_monitor_up == 0", Labels: map[string]string{"severity": "page"}, For: time.Minute,
						KeepFiringFor: 2 * time.Minute, Annotations: map[string]string{"summary": "{{ $labels.id }}"},
					},
					Progress: rule.Progress{Health: rule.Good, Took: time.Millisecond, Evaluated: at, Alerts: []rule.Alert{
						{Labels: []series.Label{{Name: "alertname", Value: "Down"}}, State: rule.Firing, ActiveAt: at, KeepSince: at},
						{Labels: []series.Label{{Name: "alertname", Value: "Down"}, {Name: "id", Value: "over"}}, State: rule.Inactive, ActiveAt: at, ResolvedAt: at},
					}},
				},
				{
					Definition: rule.Definition{Record: "up:sum", Expr: "sum(tokiflow_monitor_up)"},
					Progress:   rule.Progress{Health: rule.Bad, LastError: "too much", Evaluated: at},
				},
			},
		},
		{Group: rule.Group{Name: "two"}, Rules: []rule.Standing{
			{Definition: rule.Definition{Record: "x", Expr: "1"}, Progress: rule.Progress{Health: rule.Unknown}},
		}},
	}
}

func TestRulesAndAlerts(t *testing.T) {
	b := newBench(t, nil, func(o *promapi.Options) { o.Rules = groups{org(1): twoGroups()} })
	const alert = `{"labels":{"alertname":"Down"},"annotations":{},"state":"firing","activeAt":"2026-11-23T11:59:50Z","keepFiringSince":"2026-11-23T11:59:50Z","value":"0e+00"}`
	down := func(alerts string) string {
		return `{"state":"firing","name":"Down","query":"tokiflow_monitor_up == 0","duration":60,"keepFiringFor":120,"labels":{"severity":"page"},` +
			`"annotations":{"summary":"{{ $labels.id }}"},"alerts":` + alerts + `,"health":"ok","evaluationTime":0.001,"lastEvaluation":"2026-11-23T11:59:50Z","type":"alerting"}`
	}
	const sum = `{"name":"up:sum","query":"sum(tokiflow_monitor_up)","labels":{},"health":"err","lastError":"too much","evaluationTime":0,"lastEvaluation":"2026-11-23T11:59:50Z","type":"recording"}`
	one := func(rules string) string {
		return `{"name":"one","file":"tokiflow","rules":[` + rules + `],"interval":30,"limit":5,"evaluationTime":0.002,"lastEvaluation":"2026-11-23T11:59:50Z"}`
	}
	const two = `{"name":"two","file":"tokiflow","rules":[{"name":"x","query":"1","labels":{},"health":"unknown","evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z","type":"recording"}],` +
		`"interval":60,"limit":0,"evaluationTime":0,"lastEvaluation":"0001-01-01T00:00:00Z"}`
	for _, c := range []struct {
		path   string
		form   url.Values
		status int
		want   string
	}{
		{"/alerts", nil, 200, `{"status":"success","data":{"alerts":[` + alert + `]}}`},
		{"/rules", nil, 200, `{"status":"success","data":{"groups":[` + one(down("["+alert+"]")+","+sum) + `,` + two + `]}}`},
		{"/rules", form("type", "alert"), 200, `{"status":"success","data":{"groups":[` + one(down("["+alert+"]")) + `]}}`},
		{"/rules", form("type", "record", "rule_group[]", "one"), 200, `{"status":"success","data":{"groups":[` + one(sum) + `]}}`},
		{"/rules", form("exclude_alerts", "true", "rule_name[]", "Down"), 200, `{"status":"success","data":{"groups":[` + one(down("null")) + `]}}`},
		{"/rules", form("match[]", `{severity="page"}`), 200, `{"status":"success","data":{"groups":[` + one(down("["+alert+"]")) + `]}}`},
		{"/rules", form("file[]", "other"), 200, `{"status":"success","data":{"groups":[]}}`},
		{"/rules", form("group_limit", "1", "type", "record"), 200, `{"status":"success","data":{"groups":[` + one(sum) +
			`],"groupNextToken":"` + tokenOfTwo + `"}}`},
		{"/rules", form("group_limit", "1", "group_next_token", tokenOfTwo), 200, `{"status":"success","data":{"groups":[` + two + `]}}`},
		{"/rules", form("group_next_token", "x"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"group_next_token\": group_limit needs to be present in order to paginate over the groups"}`},
		{"/rules", form("group_limit", "1", "group_next_token", "x"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"group_next_token\": invalid group_next_token 'x'. were rule groups changed?"}`},
		{"/rules", form("group_limit", "0"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"group_limit\": group_limit needs to be greater than 0"}`},
		{"/rules", form("type", "x"), 400, `{"status":"error","errorType":"bad_data","error":"invalid parameter \"type\": not supported value \"x\""}`},
	} {
		status, got := b.get("key-1", c.path, c.form)
		if d := cmp.Diff(c.want, got); d != "" || status != c.status {
			t.Errorf("%s %v: %d (-want +got)\n%s", c.path, c.form, status, d)
		}
	}
}

// tokenOfTwo is the SHA-256 of "tokiflow;two", as Prometheus makes it.
const tokenOfTwo = "51af54db79ef3f3683fcb63fa614cd0c7d741941751795ce201dcc2bbf46a8e4"
