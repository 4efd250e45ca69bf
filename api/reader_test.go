package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/api"
)

func TestHistoryFromTheDatabase(t *testing.T) {
	s := newBundle(t, func(o *api.Options) { o.History = nil })
	m, other := s.hourly(s.a, "m"), s.hourly(s.b, "other")

	const total = 2400 // four of each instant
	for _, o := range []struct {
		owner
		monitor string
	}{{s.a, m}, {s.b, other}} {
		s.exec(`insert into pings (received_at, org_id, monitor_id, id, kind, body_size, remote_addr, user_agent, method, body)
			select '2026-01-01'::timestamptz + n / 4 * interval '1 s', $1, $2, gen_random_uuid(), 1, 5, '10.0.0.1', 'curl', 'POST', 'hello'
			from generate_series(1, $3) n`, o.org, o.monitor, total)
		s.exec(`insert into runs (finished_at, org_id, monitor_id, run_id, duration_seconds, lateness_seconds, exit_code, outcome)
			select '2026-01-01'::timestamptz + n / 4 * interval '1 s', $1, $2, gen_random_uuid(), 1.5, 0, 0, 'success'
			from generate_series(1, $3) n`, o.org, o.monitor, total)
		s.exec(`insert into transitions (at, org_id, monitor_id, seconds_in_previous, from_status, to_status, reason)
			select '2026-01-01'::timestamptz + n / 4 * interval '1 s', $1, $2, n, 'up', 'late', 'due' from generate_series(1, $3) n`, o.org, o.monitor, total)
	}
	for list, id := range map[string]string{"pings": "id", "runs": "run_id", "transitions": "seconds_in_previous"} {
		seen := map[string]bool{}
		cursor, last := "", "9999"
		for {
			got := s.do(s.a.read, http.MethodGet, fmt.Sprintf("/api/v1/monitors/%s/%s?limit=1000&cursor=%s", m, list, cursor), nil).want(http.StatusOK)
			for _, r := range got.items() {
				seen[fmt.Sprint(r[id])] = true
				when := firstText(r, "received_at", "finished_at", "at")
				if when > last || when[len(when)-1] != 'Z' {
					t.Fatalf("%s: %s behind %s", list, when, last)
				}
				last = when
			}
			if cursor = got.text("next_cursor"); cursor == "" {
				break
			}
		}
		if len(seen) != total {
			t.Errorf("%s: %d rows, want %d", list, len(seen), total)
		}
		got := s.do(s.a.read, http.MethodGet, fmt.Sprintf("/api/v1/monitors/%s/%s?from=2026-01-01T00:00:01Z&to=2026-01-01T00:00:03Z", m, list), nil).want(http.StatusOK)
		if n := len(got.items()); n != 8 {
			t.Errorf("%s: %d rows in two seconds, want 8", list, n)
		}
	}

	ping := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+m+"/pings?limit=1", nil).items()[0]
	out := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+m+"/pings/"+ping["id"].(string)+"/output", nil).want(http.StatusOK)
	if string(out.raw) != "hello" {
		t.Errorf("output %q", out.raw)
	}
	s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+m+"/pings/"+uuid.NewString()+"/output", nil).want(http.StatusNotFound)

	const window = "?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
	stats := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+m+"/stats"+window, nil).want(http.StatusOK)
	if n := stats.body["runs"].(map[string]any)["success"]; n != float64(total) {
		t.Errorf("%v runs, want %d: %s", n, total, stats.raw)
	}
	all := s.do(s.a.read, http.MethodGet, "/api/v1/stats"+window, nil).want(http.StatusOK)
	if n := all.body["runs"].(map[string]any)["success"]; n != float64(total) || all.body["monitors"] != 1.0 {
		t.Errorf("the organisation's: %s", all.raw)
	}
}

func firstText(r map[string]any, names ...string) string {
	for _, n := range names {
		if v, ok := r[n].(string); ok {
			return v
		}
	}
	return ""
}
