package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/history"
)

const windowsPath = "/api/v1/maintenance-windows"

// atMonday has the API's clock stand at a Monday's noon.
func atMonday(o *api.Options) {
	o.Clock = func() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }
}

func TestMaintenanceWindowOnce(t *testing.T) {
	s := newBundle(t, atMonday)
	m := s.hourly(s.a, "job")
	made := s.do(s.a.write, http.MethodPost, windowsPath, `{"name": "upgrade", "comment": "of the database", "scope": {"monitors": ["`+m+`", "`+m+`"], "tags": ["db"]},
		"starts_at": "2026-06-01T13:30:00+02:00", "ends_at": "2026-06-01T16:00:00+02:00"}`).want(http.StatusCreated)
	id := made.text("id")
	if got := made.header.Get("Location"); got != windowsPath+"/"+id {
		t.Errorf("Location %s", got)
	}
	want := map[string]any{
		"id": id, "name": "upgrade", "comment": "of the database", "starts_at": "2026-06-01T11:30:00Z", "ends_at": "2026-06-01T14:00:00Z",
		"scope":     map[string]any{"all": false, "monitors": []any{m}, "tags": []any{"db"}, "projects": []any{}},
		"recurring": nil, "active": true, "next": []any{map[string]any{"starts_at": "2026-06-01T11:30:00Z", "ends_at": "2026-06-01T14:00:00Z"}},
		"created_by": made.body["created_by"], "created_at": made.body["created_at"], "updated_at": made.body["updated_at"],
	}
	if d := cmp.Diff(want, made.body); d != "" || made.body["created_by"] == nil {
		t.Error(d)
	}
	got := s.do(s.a.read, http.MethodGet, windowsPath+"/"+id, nil).want(http.StatusOK)
	if d := cmp.Diff(made.body, got.body); d != "" {
		t.Error(d)
	}
	if list := s.do(s.a.read, http.MethodGet, windowsPath, nil).want(http.StatusOK).items(); len(list) != 1 || list[0]["id"] != id {
		t.Errorf("%v", list)
	}
	put := s.do(s.a.write, http.MethodPut, windowsPath+"/"+id, `{"name": "short", "scope": {"all": true}, "starts_at": "2026-06-01T11:30:00Z", "ends_at": "2026-06-01T11:45:00Z"}`).want(http.StatusOK)
	if put.body["active"] != false || put.text("comment") != "" || len(put.body["next"].([]any)) != 0 || put.body["created_by"] != made.body["created_by"] {
		t.Errorf("%s", put.raw)
	}
	// Another organisation has no such window.
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		s.do(s.b.all, method, windowsPath+"/"+id, nil).want(http.StatusNotFound)
	}
	s.do(s.b.all, http.MethodPut, windowsPath+"/"+id, `{"name": "x", "scope": {"all": true}, "starts_at": "2026-06-01T11:30:00Z", "ends_at": "2026-06-01T11:45:00Z"}`).want(http.StatusNotFound)
	if list := s.do(s.b.read, http.MethodGet, windowsPath, nil).items(); len(list) != 0 {
		t.Errorf("another organisation's list: %v", list)
	}
	s.do(s.a.read, http.MethodDelete, windowsPath+"/"+id, nil).want(http.StatusForbidden)
	s.do(s.a.write, http.MethodDelete, windowsPath+"/"+id, nil).want(http.StatusNoContent)
	s.do(s.a.read, http.MethodGet, windowsPath+"/"+id, nil).want(http.StatusNotFound)
}

func TestMaintenanceWindowRecurring(t *testing.T) {
	s := newBundle(t, atMonday)
	weekly := s.do(s.a.all, http.MethodPost, windowsPath, `{"name": "nights", "scope": {"all": true},
		"recurring": {"weekly": {"days": ["sat", "mon"], "at": "23:30"}, "timezone": "Europe/Berlin", "duration": "1h30m"}}`).want(http.StatusCreated)
	next := weekly.body["next"].([]any)
	if len(next) != 5 || next[0].(map[string]any)["starts_at"] != "2026-06-01T21:30:00Z" || next[1].(map[string]any)["ends_at"] != "2026-06-06T23:00:00Z" {
		t.Errorf("%v", next)
	}
	want := map[string]any{
		"cron": "", "weekly": map[string]any{"days": []any{"sat", "mon"}, "at": "23:30"}, "timezone": "Europe/Berlin", "duration": "1h30m",
	}
	if d := cmp.Diff(want, weekly.body["recurring"]); d != "" || weekly.body["starts_at"] != nil || weekly.body["active"] != false {
		t.Error(d)
	}
	cron := s.do(s.a.all, http.MethodPost, windowsPath, `{"name": "noon", "scope": {"all": true}, "recurring": {"cron": "0 12 * * *", "duration": "1h"}}`).want(http.StatusCreated)
	if cron.body["active"] != true || cron.body["recurring"].(map[string]any)["timezone"] != "UTC" {
		t.Errorf("%s", cron.raw)
	}
}

func TestMaintenanceWindowIsRefused(t *testing.T) {
	s := newBundle(t, atMonday)
	theirs := s.hourly(s.b, "theirs")
	const times = `"starts_at": "2026-06-01T12:00:00Z", "ends_at": "2026-06-01T13:00:00Z"`
	post := func(body string) *answer { return s.do(s.a.all, http.MethodPost, windowsPath, body) }
	for _, c := range []struct{ body, location, words string }{
		{`{"scope": {"all": true}, ` + times + `}`, "body", "name"},
		{`{"name": "x", ` + times + `}`, "body", "scope"},
		{`{"name": "x", "scope": {}, ` + times + `}`, "body.scope", "empty"},
		{`{"name": "x", "scope": {"all": true}}`, "body", "give starts_at"},
		{`{"name": "x", "scope": {"all": true}, "starts_at": "2026-06-01T12:00:00Z"}`, "body.ends_at", "missing"},
		{`{"name": "x", "scope": {"all": true}, "starts_at": "2026-06-01T12:00:00Z", "ends_at": "2026-06-01T12:00:00Z"}`, "body.ends_at", "behind"},
		{`{"name": "x\u0000", "scope": {"all": true}, ` + times + `}`, "body.name", "control"},
		{`{"name": "x", "comment": "\u0000", "scope": {"all": true}, ` + times + `}`, "body.comment", "NUL"},
		{`{"name": "x", "scope": {"tags": ["a\u0000"]}, ` + times + `}`, "body.scope.tags", "control"},
		{`{"name": "x", "scope": {"tags": ["a,b"]}, ` + times + `}`, "body.scope.tags[0]", "comma"},
		{`{"name": "x", "scope": {"monitors": ["` + theirs + `"]}, ` + times + `}`, "body.scope.monitors[0]", "no monitor"},
		{`{"name": "x", "scope": {"projects": ["` + s.b.project.String() + `"]}, ` + times + `}`, "body.scope.projects[0]", "no project"},
		{`{"name": "x", "scope": {"all": true}, "recurring": {"duration": "1h"}}`, "body.recurring", "cron or weekly"},
		{`{"name": "x", "scope": {"all": true}, "recurring": {"cron": "0 99 * * *", "duration": "1h"}}`, "body.recurring.cron", "character 3"},
		{`{"name": "x", "scope": {"all": true}, "recurring": {"cron": "0 9 * * *", "timezone": "Mars", "duration": "1h"}}`, "body.recurring.timezone", "not a known"},
		{`{"name": "x", "scope": {"all": true}, "recurring": {"cron": "0 9 * * *", "duration": "30d"}}`, "body.recurring.duration", "7d"},
		{`{"name": "x", "scope": {"all": true}, "recurring": {"cron": "0 9 * * *"}}`, "body.recurring", "duration"},
		{`{"name": "x", "scope": {"all": true}, "recurring": {"weekly": {"days": ["noday"], "at": "10:00"}, "duration": "1h"}}`, "body.recurring.weekly.days[0]", ""},
		{`{"name": "x", "scope": {"all": true}, "recurring": {"weekly": {"days": ["mon"], "at": "25:00"}, "duration": "1h"}}`, "body.recurring.weekly.at", "22:30"},
		{`{"name": "x", "scope": {"all": true}, ` + times + `, "recurring": {"cron": "0 9 * * *", "duration": "1h"}}`, "body.recurring", "starts_at"},
	} {
		post(c.body).problem(c.location, c.words)
	}
	if list := s.do(s.a.read, http.MethodGet, windowsPath, nil).items(); len(list) != 0 {
		t.Errorf("%v", list)
	}
}

func TestFiguresWithoutMaintenance(t *testing.T) {
	s := newBundle(t, atMonday)
	m := s.hourly(s.a, "job")
	s.hourly(s.b, "theirs")
	s.do(s.a.all, http.MethodPost, windowsPath, `{"name": "x", "scope": {"monitors": ["`+m+`"]}, "starts_at": "2026-05-30T12:00:00Z", "ends_at": "2026-05-30T13:00:00Z"}`).want(http.StatusCreated)
	day := time.Date(2026, 5, 30, 12, 0, 0, 0, time.UTC)
	want := map[uuid.UUID][]history.Window{uuid.MustParse(m): {{From: day, To: day.Add(time.Hour)}}}
	for _, path := range []string{"/api/v1/stats", "/api/v1/stats/monitors", "/api/v1/monitors/" + m + "/stats"} {
		s.do(s.a.read, http.MethodGet, path, nil).want(http.StatusOK)
		s.do(s.a.read, http.MethodGet, path+"?without_maintenance=false", nil).want(http.StatusOK)
		if got := s.history.without; got != nil {
			t.Errorf("%s: %v was left out", path, got)
		}
		s.do(s.a.read, http.MethodGet, path+"?without_maintenance=true", nil).want(http.StatusOK)
		if d := cmp.Diff(want, s.history.without); d != "" {
			t.Errorf("%s: %s", path, d)
		}
		s.history.without = nil
	}
	s.do(s.b.read, http.MethodGet, "/api/v1/stats?without_maintenance=true", nil).want(http.StatusOK)
	if got := s.history.without; len(got) != 0 {
		t.Errorf("another organisation: %v", got)
	}
	s.do(s.a.read, http.MethodGet, "/api/v1/stats?without_maintenance=perhaps", nil).want(http.StatusUnprocessableEntity)
}

func TestMonitorDependencies(t *testing.T) {
	s := newBundle(t)
	a, b, c, theirs := s.hourly(s.a, "alpha"), s.hourly(s.a, "beta"), s.hourly(s.a, "gamma"), s.hourly(s.b, "theirs")
	path := func(id string) string { return "/api/v1/monitors/" + id + "/dependencies" }
	put := func(id string, parents ...string) *answer {
		return s.do(s.a.write, http.MethodPut, path(id), map[string]any{"depends_on": append([]string{}, parents...)})
	}
	if got := s.do(s.a.read, http.MethodGet, path(a), nil).want(http.StatusOK); string(got.raw) != `{"depends_on":[]}`+"\n" {
		t.Errorf("%s", got.raw)
	}
	if got := put(a, b, b).want(http.StatusOK).body["depends_on"]; !cmp.Equal(got, []any{b}) {
		t.Errorf("%v", got)
	}
	put(b, c).want(http.StatusOK)
	cycle := put(c, a).want(http.StatusUnprocessableEntity)
	if detail := cycle.text("detail"); !strings.Contains(detail, "gamma ("+c+") → alpha ("+a+") → beta ("+b+") → gamma") {
		t.Errorf("%s", detail)
	}
	put(c, c).want(http.StatusUnprocessableEntity)
	put(c, theirs).problem("body.depends_on[0]", "no monitor")
	put(c, strings.Split(strings.Repeat(uuid.NewString()+" ", 51), " ")[:51]...).want(http.StatusUnprocessableEntity)
	s.do(s.a.write, http.MethodPut, path(a), `{}`).want(http.StatusUnprocessableEntity)
	s.do(s.a.read, http.MethodPut, path(a), `{"depends_on":[]}`).want(http.StatusForbidden)
	for _, id := range []string{theirs, uuid.NewString()} {
		s.do(s.a.all, http.MethodGet, path(id), nil).want(http.StatusNotFound)
		put(id).want(http.StatusNotFound)
	}
	put(a).want(http.StatusOK)
	put(c, a).want(http.StatusOK)
}
