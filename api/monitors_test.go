package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

// state writes a monitor's state as the evaluator would.
func (s *bundle) state(o owner, id string, status monitor.Status, version int64) {
	s.t.Helper()
	state, err := json.Marshal(monitor.State{Status: status, Version: version})
	if err != nil {
		s.t.Fatal(err)
	}
	s.exec(`insert into monitor_states (monitor_id, org_id, hash, config, state, status, last_ping_at, due_at, deadline_at, open_runs)
		values ($1, $2, $3, '{}', $4, $5, '2026-01-01 12:00:00.25+00', '2026-01-01 13:00+00', '2026-01-01 13:05+00', 2)
		on conflict (monitor_id) do update set state = excluded.state, status = excluded.status`,
		id, o.org, int64(record.Hash(uuid.MustParse(id))), state, string(status))
}

func config(m map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		switch k {
		case "id", "project_id", "ping_key", "ping_url", "status", "last_ping_at", "due_at", "deadline_at", "open_runs", "created_at", "updated_at":
		default:
			out[k] = v
		}
	}
	return out
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

const defaults = `{"name":"Nightly Backup!","slug":"nightly-backup","schedule":{"interval":"1h"},"grace":"5m","early":"0s","max_runtime":"0s",
	"failure_tolerance":0,"manual_resume":false,"late_incidents":false,"tags":[],"labels":{},
	"anomaly":{"enabled":true,"z_score":3,"min_runs":10,"min_deviation":"1s"}}`

const whole = `{"name":"etl","slug":"e_t-l","schedule":{"cron":"0 3 * * *","timezone":"Europe/Berlin"},"grace":"1h30m","early":"10m","max_runtime":"1d",
	"failure_tolerance":2,"manual_resume":true,"late_incidents":true,"tags":["prod","db"],"labels":{"team":"core"},
	"anomaly":{"enabled":false,"z_score":2.5,"min_runs":20,"min_deviation":"1m30s"}}`

func TestAMonitorIsMadeReadAndDeleted(t *testing.T) {
	s := newBundle(t)
	made := s.create(s.a, `{"name":"Nightly Backup!","schedule":{"interval":"60m"}}`)
	if d := cmp.Diff(object(t, defaults), config(made.body)); d != "" {
		t.Errorf("defaults: %s", d)
	}
	id := made.text("id")
	if loc := made.header.Get("Location"); loc != baseURL+"/api/v1/monitors/"+id {
		t.Errorf("Location %q", loc)
	}
	if made.text("ping_url") != baseURL+"/ping/"+made.text("ping_key") || made.text("status") != "new" || made.body["open_runs"] != 0.0 {
		t.Errorf("answer %s", made.raw)
	}
	for _, name := range []string{"last_ping_at", "due_at", "deadline_at"} {
		if v, ok := made.body[name]; !ok || v != nil {
			t.Errorf("%s is %v, want null", name, v)
		}
	}
	for _, name := range []string{"created_at", "updated_at"} {
		if at, err := time.Parse(time.RFC3339Nano, made.text(name)); err != nil || !strings.HasSuffix(made.text(name), "Z") || time.Since(at) > time.Hour {
			t.Errorf("%s is %q", name, made.text(name))
		}
	}
	read := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id, nil).want(http.StatusOK)
	if d := cmp.Diff(made.body, read.body); d != "" {
		t.Error(d)
	}

	if gone := s.do(s.a.all, http.MethodDelete, "/api/v1/monitors/"+id, nil).want(http.StatusNoContent); len(gone.raw) != 0 {
		t.Errorf("body of a 204: %q", gone.raw)
	}
	s.do(s.a.all, http.MethodGet, "/api/v1/monitors/"+id, nil).want(http.StatusNotFound)
	s.do(s.a.all, http.MethodDelete, "/api/v1/monitors/"+id, nil).want(http.StatusNotFound)
	if got := s.log.actions(id); !slices.Equal(got, []record.Action{record.Configure, record.Delete}) {
		t.Errorf("control records %v", got)
	}
}

func TestEveryFieldIsTakenAndGivenBack(t *testing.T) {
	s := newBundle(t)
	made := s.create(s.a, whole)
	if d := cmp.Diff(object(t, whole), config(made.body)); d != "" {
		t.Error(d)
	}
	// What is read can be written back but for what is not ours to say.
	again := s.do(s.a.all, http.MethodPut, "/api/v1/monitors/"+made.text("id"), config(made.body)).want(http.StatusOK)
	if d := cmp.Diff(config(made.body), config(again.body)); d != "" {
		t.Error(d)
	}
	short := s.create(s.a, `{"name":"s","schedule":{"interval":"1s"},"grace":"0s"}`)
	if short.body["grace"] != "0s" || short.body["schedule"].(map[string]any)["interval"] != "1s" {
		t.Errorf("the shortest: %s", short.raw)
	}
}

func TestAMonitorShowsItsState(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	s.state(s.a, id, monitor.Late, 1)
	got := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id, nil).want(http.StatusOK)
	want := map[string]any{
		"status": "late", "last_ping_at": "2026-01-01T12:00:00.25Z", "due_at": "2026-01-01T13:00:00Z", "deadline_at": "2026-01-01T13:05:00Z", "open_runs": 2.0,
	}
	for name, v := range want {
		if got.body[name] != v {
			t.Errorf("%s is %v, want %v", name, got.body[name], v)
		}
	}
}

func TestPauseIsShownAtOnce(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	s.state(s.a, id, monitor.Up, 1)
	paused := s.do(s.a.write, http.MethodPost, "/api/v1/monitors/"+id+"/pause", nil).want(http.StatusOK)
	if paused.text("status") != "paused" || paused.body["due_at"] != nil || paused.body["deadline_at"] != nil {
		t.Errorf("paused: %s", paused.raw)
	}
	s.state(s.a, id, monitor.Paused, 2)
	if got := s.do(s.a.write, http.MethodPost, "/api/v1/monitors/"+id+"/resume", nil).want(http.StatusOK); got.text("status") == "paused" {
		t.Errorf("resumed: %s", got.raw)
	}
	if got := s.log.actions(id); !slices.Equal(got, []record.Action{record.Configure, record.Pause, record.Resume}) {
		t.Errorf("control records %v", got)
	}
}

func TestRotatedKey(t *testing.T) {
	s := newBundle(t)
	made := s.create(s.a, whole)
	got := s.do(s.a.write, http.MethodPost, "/api/v1/monitors/"+made.text("id")+"/rotate-key", nil).want(http.StatusOK)
	if got.text("ping_key") == made.text("ping_key") || got.text("ping_url") != baseURL+"/ping/"+got.text("ping_key") {
		t.Errorf("%s", got.raw)
	}
}

func TestPutReplaces(t *testing.T) {
	s := newBundle(t)
	id := s.create(s.a, whole).text("id")
	got := s.do(s.a.all, http.MethodPut, "/api/v1/monitors/"+id, `{"name":"Nightly Backup!","schedule":{"interval":"1h"}}`).want(http.StatusOK)
	want := object(t, defaults)
	want["slug"] = "e_t-l" // clients may use it
	if d := cmp.Diff(want, config(got.body)); d != "" {
		t.Error(d)
	}
	s.do(s.a.all, http.MethodPut, "/api/v1/monitors/"+id, `{"schedule":{"interval":"1h"}}`).problem("body", "name")
	s.do(s.a.all, http.MethodPut, "/api/v1/monitors/"+id, `{"name":"n"}`).problem("body", "schedule")
	s.do(s.a.all, http.MethodPut, "/api/v1/monitors/"+id, `{"name":"n","schedule":{"interval":"1h"},"project_id":"`+s.a.project.String()+`"}`).problem("body.project_id", "unknown field")
}

func TestPatchMerges(t *testing.T) {
	s := newBundle(t)
	for name, c := range map[string]struct{ patch, change string }{
		"nothing":            {`{}`, `{}`},
		"one field":          {`{"grace":"2m"}`, `{"grace":"2m"}`},
		"null: the default":  {`{"grace":null,"tags":null,"manual_resume":null,"failure_tolerance":null}`, `{"grace":"5m","tags":[],"manual_resume":false,"failure_tolerance":0}`},
		"no slug":            {`{"slug":null}`, `{"slug":""}`},
		"labels merge":       {`{"labels":{"tier":"gold"}}`, `{"labels":{"team":"core","tier":"gold"}}`},
		"a label goes":       {`{"labels":{"team":null}}`, `{"labels":{}}`},
		"all labels go":      {`{"labels":null}`, `{"labels":{}}`},
		"tags are replaced":  {`{"tags":["x"]}`, `{"tags":["x"]}`},
		"anomaly merges":     {`{"anomaly":{"z_score":4}}`, `{"anomaly":{"enabled":false,"z_score":4,"min_runs":20,"min_deviation":"1m30s"}}`},
		"anomaly's default":  {`{"anomaly":{"min_runs":null}}`, `{"anomaly":{"enabled":false,"z_score":2.5,"min_runs":10,"min_deviation":"1m30s"}}`},
		"anomaly anew":       {`{"anomaly":null}`, `{"anomaly":{"enabled":true,"z_score":3,"min_runs":10,"min_deviation":"1s"}}`},
		"schedule is whole":  {`{"schedule":{"interval":"2h"}}`, `{"schedule":{"interval":"2h"}}`},
		"zone goes with it":  {`{"schedule":{"cron":"5 4 * * *"}}`, `{"schedule":{"cron":"5 4 * * *"}}`},
		"zero is not absent": {`{"grace":"0s","failure_tolerance":0,"manual_resume":false}`, `{"grace":"0s","failure_tolerance":0,"manual_resume":false}`},
	} {
		id := s.create(s.a, whole).text("id")
		got := s.do(s.a.all, http.MethodPatch, "/api/v1/monitors/"+id, c.patch).want(http.StatusOK)
		want := object(t, whole)
		maps.Copy(want, object(t, c.change))
		if d := cmp.Diff(want, config(got.body)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		read := s.do(s.a.all, http.MethodGet, "/api/v1/monitors/"+id, nil).want(http.StatusOK)
		if d := cmp.Diff(got.body, read.body); d != "" {
			t.Errorf("%s: read back: %s", name, d)
		}
	}
}

func TestPatchTakesItsMediaType(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	for _, ct := range []string{"application/merge-patch+json", "application/json; charset=utf-8", ""} {
		req, err := http.NewRequestWithContext(s.ctx, http.MethodPatch, s.server.URL+"/api/v1/monitors/"+id, strings.NewReader(`{"name":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Api-Key", s.a.all)
		if ct != "" {
			req.Header.Set("Content-Type", ct)
		}
		s.send(req).want(http.StatusOK)
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPatch, s.server.URL+"/api/v1/monitors/"+id, strings.NewReader(`name: x`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Api-Key", s.a.all)
	req.Header.Set("Content-Type", "application/yaml")
	s.send(req).want(http.StatusUnsupportedMediaType)
}

func TestConcurrentPatchesAllCount(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	const patches = 20
	var wg sync.WaitGroup
	for i := range patches {
		wg.Go(func() {
			if r := s.do(s.a.all, http.MethodPatch, "/api/v1/monitors/"+id, fmt.Sprintf(`{"labels":{"l%d":"x"}}`, i)); r.status != http.StatusOK {
				t.Errorf("%d: %s", r.status, r.raw)
			}
		})
	}
	wg.Wait()
	got := s.do(s.a.all, http.MethodGet, "/api/v1/monitors/"+id, nil).want(http.StatusOK)
	if n := len(got.body["labels"].(map[string]any)); n != patches {
		t.Errorf("%d labels, want %d", n, patches)
	}
	if v := s.count(`select version from monitors where id = $1`, id); v != patches+1 {
		t.Errorf("version %d, want %d", v, patches+1)
	}
	for i, c := range s.log.seen {
		if c.Version != int64(i+1) {
			t.Errorf("record %d has version %d", i, c.Version)
		}
	}
}

func TestSlugsOfNames(t *testing.T) {
	s := newBundle(t)
	for _, c := range []struct{ name, slug string }{
		{"Nightly  Backup!", "nightly-backup"},
		{"Nightly backup", "nightly-backup-2"},
		{"nightly-backup-2", "nightly-backup-2-2"},
		{"--a_b--", "a_b"},
		{"備份", ""},
		{"備份", ""},
		{"été 2026", "t-2026"},
		{strings.Repeat("x", 200), strings.Repeat("x", 60)},
	} {
		if got := s.create(s.a, `{"name":"`+c.name+`","schedule":{"interval":"1h"}}`).text("slug"); got != c.slug {
			t.Errorf("%q: slug %q, want %q", c.name, got, c.slug)
		}
	}
	for range 2 {
		if got := s.create(s.a, `{"name":"twin","slug":"twin","schedule":{"interval":"1h"}}`).text("slug"); got != "twin" {
			t.Errorf("a slug asked for became %q", got)
		}
	}
	if got := s.create(s.a, `{"name":"none","slug":"","schedule":{"interval":"1h"}}`).text("slug"); got != "" {
		t.Errorf("slug %q", got)
	}
}

func TestProjects(t *testing.T) {
	s := newBundle(t)
	second := uuid.NewString()
	s.exec(`insert into projects (id, org_id, name, slug, ping_key, created_at) values ($1, $2, 'x', 'x', 'x', now() + interval '1 h')`, second, s.a.org)
	if got := s.create(s.a, `{"name":"n","schedule":{"interval":"1h"}}`).text("project_id"); got != s.a.project.String() {
		t.Errorf("project %s, want the first", got)
	}
	if got := s.create(s.a, `{"name":"n","schedule":{"interval":"1h"},"project_id":"`+second+`"}`).text("project_id"); got != second {
		t.Errorf("project %s, want the second", got)
	}
	for _, id := range []string{s.b.project.String(), uuid.NewString()} {
		s.do(s.a.all, http.MethodPost, "/api/v1/monitors", `{"name":"n","schedule":{"interval":"1h"},"project_id":"`+id+`"}`).problem("body.project_id", "no such project")
	}
	s.do(s.a.all, http.MethodPost, "/api/v1/monitors", `{"name":"n","schedule":{"interval":"1h"},"project_id":"x"}`).problem("body.project_id")
}

func TestMonitorListFilters(t *testing.T) {
	s := newBundle(t)
	one := s.create(s.a, whole).text("id")
	two := s.hourly(s.a, "Web 100%_sure")
	s.hourly(s.b, "etl")
	s.state(s.a, two, monitor.Down, 1)
	second := uuid.NewString()
	s.exec(`insert into projects (id, org_id, name, slug, ping_key, created_at) values ($1, $2, 'x', 'x', 'x', now() + interval '1 h')`, second, s.a.org)
	three := s.create(s.a, `{"name":"n","schedule":{"interval":"1h"},"project_id":"`+second+`","tags":["db"]}`).text("id")

	for query, want := range map[string][]string{
		"":                                {one, two, three},
		"status=down":                     {two},
		"status=down&status=new":          {one, two, three},
		"status=paused":                   {},
		"tag=db":                          {one, three},
		"tag=db&tag=prod":                 {one},
		"name=" + url.QueryEscape("%_"):   {two},
		"name=WEB":                        {two},
		"slug=e_t-l":                      {one},
		"project=" + second:               {three},
		"project=" + s.b.project.String(): {},
		"project=00000000-0000-0000-0000-000000000000":       {},
		"tag=db&name=etl&slug=e_t-l&status=new&limit=1":      {one},
		"name=" + url.QueryEscape("'; drop table monitors;"): {},
	} {
		got := s.do(s.a.read, http.MethodGet, "/api/v1/monitors?"+query, nil).want(http.StatusOK)
		ids := []string{}
		for _, m := range got.items() {
			ids = append(ids, m["id"].(string))
		}
		if !slices.Equal(ids, want) || got.text("next_cursor") != "" {
			t.Errorf("%s: %v, want %v", query, ids, want)
		}
	}
	for query, location := range map[string]string{
		"stauts=down":         "query.stauts",
		"status=broken":       "query.status[0]",
		"limit=0":             "query.limit",
		"limit=1001":          "query.limit",
		"limit=x":             "query.limit",
		"project=x":           "query.project",
		"name=%00":            "query.name",
		"name=%ff":            "query.name",
		"name=a&name=b":       "query.name",
		"status=&status=down": "query.status",
		"status=down&status=": "query.status",
	} {
		s.do(s.a.read, http.MethodGet, "/api/v1/monitors?"+query, nil).problem(location)
	}
}

func TestMonitorListPages(t *testing.T) {
	s := newBundle(t)
	const total = 2345
	// Written at once: what is to be seen is the reading.
	s.exec(`insert into monitors (id, org_id, project_id, ping_key, name, config, version)
		select ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1, $2, gen_random_uuid(), 'm' || n,
			'{"name":"m","schedule":{"interval":"1h"}}', 1 from generate_series(1, $3) n`, s.a.org, s.a.project, total)
	s.hourly(s.b, "other")
	for _, limit := range []int{1000, 469} {
		seen := map[string]bool{}
		cursor, pages := "", 0
		for {
			got := s.do(s.a.read, http.MethodGet, fmt.Sprintf("/api/v1/monitors?limit=%d&cursor=%s", limit, cursor), nil).want(http.StatusOK)
			pages++
			for _, m := range got.items() {
				seen[m["id"].(string)] = true
			}
			if len(got.items()) > limit {
				t.Fatalf("%d items", len(got.items()))
			}
			if cursor = got.text("next_cursor"); cursor == "" {
				break
			}
		}
		if len(seen) != total || pages != (total+limit-1)/limit {
			t.Errorf("limit %d: %d monitors in %d pages", limit, len(seen), pages)
		}
	}
}

func TestALogThatIsDownOnlyDelays(t *testing.T) {
	s := newBundle(t)
	s.log.down = errDown
	id := s.hourly(s.a, "m")
	s.do(s.a.all, http.MethodPost, "/api/v1/monitors/"+id+"/pause", nil).want(http.StatusOK)
	if n := s.count(`select count(*) from control_queue where monitor_id = $1`, id); n != 2 {
		t.Errorf("%d changes wait, want 2", n)
	}
	if !strings.Contains(s.out.String(), "the log is down") {
		t.Errorf("nothing in the log: %s", s.out)
	}
}
