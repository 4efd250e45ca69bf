package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/record"
)

func TestAnIncidentIsShown(t *testing.T) {
	s := newBundle(t)
	m := s.hourly(s.a, "backup")
	id := s.open(s.a, m, incident.Fail, at(0))
	want := map[string]any{
		"id": id, "monitor_id": m, "monitor_name": "backup", "kind": "fail", "status": "open", "severity": "critical",
		"opened_at": "2026-01-01T00:00:00Z", "acknowledged_at": nil, "acknowledged_by": nil, "resolved_at": nil, "resolution": "",
		"evidence": map[string]any{"exit_code": 3.0, "output": "no space left"},
	}
	got := s.do(s.a.read, http.MethodGet, "/api/v1/incidents/"+id, nil).want(http.StatusOK)
	if d := cmp.Diff(want, got.body); d != "" {
		t.Error(d)
	}
	list := s.do(s.a.read, http.MethodGet, "/api/v1/incidents", nil).want(http.StatusOK)
	if d := cmp.Diff([]map[string]any{want}, list.items()); d != "" {
		t.Error(d)
	}
}

func TestIncidentListFilters(t *testing.T) {
	s := newBundle(t)
	m, n := s.hourly(s.a, "m"), s.hourly(s.a, "n")
	missed := s.open(s.a, m, incident.Missed, at(0))
	fail := s.open(s.a, m, incident.Fail, at(10))
	late := s.open(s.a, n, incident.Late, at(20))
	s.open(s.b, s.hourly(s.b, "other"), incident.Missed, at(0))
	s.exec(`update incidents set status = 'resolved', resolved_at = now() where id = $1`, missed)
	s.exec(`update incidents set status = 'acknowledged', acknowledged_at = now() where id = $1`, fail)
	for query, want := range map[string][]string{
		"":                                {late, fail, missed},
		"status=open":                     {late},
		"status=open&status=acknowledged": {late, fail},
		"kind=missed&kind=late":           {late, missed},
		"monitor=" + m:                    {fail, missed},
		"monitor=" + uuid.NewString():     {},
		"from=2026-01-01T00:10:00Z":       {late, fail},
		"to=2026-01-01T00:10:00Z":         {missed},
		"from=2026-01-01T00:05:00Z&to=2026-01-01T00:15:00Z": {fail},
		"kind=fail&status=acknowledged&monitor=" + m:        {fail},
	} {
		got := s.do(s.a.read, http.MethodGet, "/api/v1/incidents?"+query, nil).want(http.StatusOK)
		ids := []string{}
		for _, i := range got.items() {
			ids = append(ids, i["id"].(string))
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s: %v, want %v", query, ids, want)
		}
	}
	for query, location := range map[string]string{
		"status=new": "query.status[0]", "kind=x": "query.kind[0]", "monitor=x": "query.monitor", "cursor=x": "query.cursor", "state=open": "query.state",
	} {
		s.do(s.a.read, http.MethodGet, "/api/v1/incidents?"+query, nil).problem(location)
	}
}

func TestIncidentListPages(t *testing.T) {
	s := newBundle(t)
	const total = 2100 // ten of each instant
	s.exec(`insert into incidents (id, org_id, monitor_id, monitor_name, kind, severity, opened_at, resolved_at, status, evidence)
		select gen_random_uuid(), $1, gen_random_uuid(), 'm', 'missed', 'critical', '2026-01-01'::timestamptz + n / 10 * interval '1 us', now(), 'resolved', '{}'
		from generate_series(1, $2) n`, s.a.org, total)
	seen := map[string]bool{}
	cursor, last := "", time.Now()
	for {
		got := s.do(s.a.read, http.MethodGet, fmt.Sprintf("/api/v1/incidents?limit=1000&cursor=%s", cursor), nil).want(http.StatusOK)
		for _, i := range got.items() {
			seen[i["id"].(string)] = true
			opened, err := time.Parse(time.RFC3339Nano, i["opened_at"].(string))
			if err != nil || opened.After(last) {
				t.Fatalf("%s behind %s, %v", opened, last, err)
			}
			last = opened
		}
		if cursor = got.text("next_cursor"); cursor == "" {
			break
		}
	}
	if len(seen) != total {
		t.Errorf("%d incidents, want %d", len(seen), total)
	}
}

func TestAcknowledge(t *testing.T) {
	s := newBundle(t)
	id := s.open(s.a, s.hourly(s.a, "m"), incident.Missed, at(0))
	path := "/api/v1/incidents/" + id + "/acknowledge"
	one := s.do(s.a.write, http.MethodPost, path, nil).want(http.StatusOK)
	if one.text("status") != "acknowledged" || one.body["acknowledged_at"] == nil {
		t.Errorf("%s", one.raw)
	}
	if n := s.count(`select count(*) from api_keys where id = $1 and scopes = '{write}'`, one.text("acknowledged_by")); n != 1 {
		t.Error("acknowledged_by is not the key that did it")
	}
	two := s.do(s.a.all, http.MethodPost, path, nil).want(http.StatusOK)
	if d := cmp.Diff(one.body, two.body); d != "" {
		t.Errorf("again: %s", d)
	}
	s.exec(`update incidents set status = 'resolved', resolved_at = now()`)
	s.do(s.a.all, http.MethodPost, path, nil).want(http.StatusConflict)
}

func TestResolveWaitsForTheEvaluator(t *testing.T) {
	s := newBundle(t)
	m := s.hourly(s.a, "m")
	id := s.open(s.a, m, incident.Missed, at(0))
	s.log.apply = func(c record.Control) error {
		if c.Action != record.ResolveIncident || uuid.UUID(c.Config) != uuid.MustParse(id) {
			return nil
		}
		go func() { // the evaluator comes to it a moment later
			_, err := s.pool.Exec(s.ctx, `select pg_sleep(0.1)`)
			if err == nil {
				_, err = s.pool.Exec(s.ctx, `update incidents set status = 'resolved', resolved_at = now(), resolution = 'person' where id = $1`, id)
			}
			if err != nil {
				t.Error(err)
			}
		}()
		return nil
	}
	got := s.do(s.a.write, http.MethodPost, "/api/v1/incidents/"+id+"/resolve", nil).want(http.StatusOK)
	if got.text("status") != "resolved" || got.text("resolution") != "person" || got.body["resolved_at"] == nil {
		t.Errorf("%s", got.raw)
	}
	again := s.do(s.a.write, http.MethodPost, "/api/v1/incidents/"+id+"/resolve", nil).want(http.StatusOK)
	if d := cmp.Diff(got.body, again.body); d != "" {
		t.Errorf("again: %s", d)
	}
	if n := len(s.log.actions(m)); n != 2 {
		t.Errorf("%d control records, want 2", n)
	}
}

func TestResolveAnswersBeforeAnEvaluatorThatDoesNotCome(t *testing.T) {
	s := newBundle(t, func(o *api.Options) { o.ResolveWait = 50 * time.Millisecond })
	m := s.hourly(s.a, "m")
	id := s.open(s.a, m, incident.Missed, at(0))
	got := s.do(s.a.write, http.MethodPost, "/api/v1/incidents/"+id+"/resolve", nil).want(http.StatusAccepted)
	if got.text("status") != "open" {
		t.Errorf("%s", got.raw)
	}
	s.do(s.a.all, http.MethodDelete, "/api/v1/monitors/"+m, nil).want(http.StatusNoContent)
	s.do(s.a.write, http.MethodPost, "/api/v1/incidents/"+id+"/resolve", nil).want(http.StatusAccepted)
	want := []record.Action{record.Configure, record.ResolveIncident, record.Delete}
	if got := s.log.actions(m); !slices.Equal(got, want) {
		t.Errorf("control records %v, want %v", got, want)
	}
}
