package api_test

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

func key(n int, t time.Time) history.Key { return history.Key{At: t, Tie: strconv.Itoa(n)} }

func TestPings(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	rid := uuid.New()
	full := history.Ping{
		ID: uuid.New(), ReceivedAt: at(1).Add(123456 * time.Microsecond), Kind: record.Fail, RID: rid, ExitCode: 3, Duration: 1500 * time.Millisecond,
		RemoteAddr: "2001:db8::1", UserAgent: "curl/8", Method: "POST", BodySize: 12, HasOutput: true, Key: key(1, at(1)),
	}
	bare := history.Ping{ID: uuid.New(), ReceivedAt: at(0), Kind: record.Start, ExitCode: record.NoExitCode, Duration: record.NoDuration, Key: key(0, at(0))}
	s.history.pings[place{s.a.org, uuid.MustParse(id)}] = []history.Ping{bare, full}

	got := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/pings", nil).want(http.StatusOK)
	want := []map[string]any{
		{
			"id": full.ID.String(), "kind": "fail", "received_at": "2026-01-01T00:01:00.123456Z", "rid": rid.String(), "exit_code": 3.0,
			"duration_seconds": 1.5, "remote_addr": "2001:db8::1", "user_agent": "curl/8", "method": "POST", "body_size": 12.0, "has_output": true,
		},
		{
			"id": bare.ID.String(), "kind": "start", "received_at": "2026-01-01T00:00:00Z", "rid": nil, "exit_code": nil,
			"duration_seconds": nil, "remote_addr": "", "user_agent": "", "method": "", "body_size": 0.0, "has_output": false,
		},
	}
	if d := cmp.Diff(want, got.items()); d != "" {
		t.Error(d)
	}
}

func TestRuns(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	run := history.Run{Key: key(1, at(2)), Run: monitor.Run{
		ID: uuid.New(), StartedAt: at(1), FinishedAt: at(2), Outcome: monitor.Failed, ExitCode: 137, Duration: time.Minute, Lateness: 90 * time.Second,
	}}
	missed := history.Run{Key: key(0, at(0)), Run: monitor.Run{
		ID: uuid.New(), FinishedAt: at(0), Outcome: monitor.Missed, ExitCode: record.NoExitCode, Duration: record.NoDuration, Lateness: -1,
	}}
	s.history.runs[place{s.a.org, uuid.MustParse(id)}] = []history.Run{missed, run}
	got := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/runs", nil).want(http.StatusOK)
	want := []map[string]any{
		{
			"run_id": run.ID.String(), "started_at": "2026-01-01T00:01:00Z", "finished_at": "2026-01-01T00:02:00Z", "outcome": "fail", "exit_code": 137.0,
			"duration_seconds": 60.0, "lateness_seconds": 90.0,
		},
		{
			"run_id": missed.ID.String(), "started_at": nil, "finished_at": "2026-01-01T00:00:00Z", "outcome": "missed", "exit_code": nil,
			"duration_seconds": nil, "lateness_seconds": nil,
		},
	}
	if d := cmp.Diff(want, got.items()); d != "" {
		t.Error(d)
	}
}

func TestTransitions(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	s.history.transitions[place{s.a.org, uuid.MustParse(id)}] = []history.Transition{
		{Key: key(0, at(0)), Transition: monitor.Transition{At: at(0), From: monitor.New, To: monitor.Up, Reason: "ping", SecondsInPrevious: 12.25}},
	}
	got := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/transitions", nil).want(http.StatusOK)
	want := []map[string]any{{"at": "2026-01-01T00:00:00Z", "from": "new", "to": "up", "reason": "ping", "seconds_in_previous": 12.25}}
	if d := cmp.Diff(want, got.items()); d != "" {
		t.Error(d)
	}
}

func TestHistoryPagesAndWindows(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	const total = 1203
	var pings []history.Ping
	for n := range total {
		when := at(0).Add(time.Duration(n/3) * time.Second) // three of each instant
		pings = append(pings, history.Ping{ID: uuid.New(), ReceivedAt: when, Kind: record.Success, Key: key(n, when)})
	}
	s.history.pings[place{s.a.org, uuid.MustParse(id)}] = pings

	seen := map[string]bool{}
	cursor := ""
	for {
		got := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/pings?limit=500&cursor="+cursor, nil).want(http.StatusOK)
		for _, p := range got.items() {
			seen[p["id"].(string)] = true
		}
		if cursor = got.text("next_cursor"); cursor == "" {
			break
		}
	}
	if len(seen) != total {
		t.Errorf("%d pings, want %d", len(seen), total)
	}

	got := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/pings?from=2026-01-01T00:00:01Z&to=2026-01-01T01:00:02%2B01:00", nil).want(http.StatusOK)
	if n := len(got.items()); n != 3 {
		t.Errorf("%d pings in the second, want 3", n)
	}
	for query, location := range map[string]string{
		"from=yesterday": "query.from",
		"from=2026-01-01T00:00:01Z&to=2026-01-01T00:00:01Z": "query.from",
		"to=0001-01-01T00:00:00Z":                           "query.from",
		"cursor=x":                                          "query.cursor",
		"cursor=!":                                          "query.cursor",
		"cursor=e30":                                        "query.cursor", // {}
		"cursor=eyJvZiI6InJ1bnMifQ":                         "query.cursor", // {"of":"runs"}
		"curser=x":                                          "query.curser",
	} {
		s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/pings?"+query, nil).problem(location)
	}
	// A cursor of ours with a key that only the reader can tell is wrong.
	r := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/pings?cursor=eyJvZiI6InBpbmdzIiwiYXQiOiIyMDI2LTAxLTAxVDAwOjAwOjAwWiIsInRpZSI6IngifQ", nil)
	if r.want(http.StatusUnprocessableEntity); !strings.Contains(r.text("detail"), "cursor") {
		t.Errorf("%s", r.raw)
	}
}

func TestPingOutputIsHandedOutAsBytes(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	text, binary, none := uuid.New(), uuid.New(), uuid.New()
	s.history.pings[place{s.a.org, uuid.MustParse(id)}] = []history.Ping{{ID: text, HasOutput: true}, {ID: binary, HasOutput: true}, {ID: none}}
	s.history.outputs[text] = []byte("<script>alert('ü')</script>")
	s.history.outputs[binary] = []byte{0xff, 0, 1}
	path := "/api/v1/monitors/" + id + "/pings/"
	for ping, ct := range map[uuid.UUID]string{text: "text/plain; charset=utf-8", binary: "application/octet-stream"} {
		got := s.do(s.a.read, http.MethodGet, path+ping.String()+"/output", nil).want(http.StatusOK)
		if string(got.raw) != string(s.history.outputs[ping]) || got.header.Get("Content-Type") != ct || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q %v", got.raw, got.header)
		}
	}
	s.do(s.a.read, http.MethodGet, path+none.String()+"/output", nil).want(http.StatusNotFound)
}

func TestStats(t *testing.T) {
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	s := newBundle(t, func(o *api.Options) { o.Clock = func() time.Time { return now } })
	id, other := s.hourly(s.a, "m"), s.hourly(s.a, "without history")
	uptime, mtbf, odd := 0.75, 3600.0, math.Inf(1)
	one := history.Stats{
		Monitors: 1, UpSeconds: 300, DownSeconds: 100, Uptime: &uptime, Failures: 2, Recoveries: 1, MTBFSeconds: &mtbf, HealthScore: &odd,
		Runs:     map[monitor.Outcome]int64{monitor.Succeeded: 7, monitor.Failed: 2, monitor.Missed: 1},
		Duration: &history.Distribution{Count: 9, Mean: 2, Stddev: math.NaN(), Min: 1, Max: 4, P50: 2, P95: 3.5, P99: 4},
	}
	s.history.stats[place{s.a.org, uuid.MustParse(id)}] = one
	all := one
	all.Monitors = 5
	s.history.stats[place{org: s.a.org}] = all

	none := map[string]any{"count": 0.0, "mean": nil, "stddev": nil, "min": nil, "max": nil, "p50": nil, "p95": nil, "p99": nil}
	want := map[string]any{
		"from": "2026-05-02T12:00:00Z", "to": "2026-06-01T12:00:00Z",
		"up_seconds": 300.0, "down_seconds": 100.0, "uptime": 0.75, "failures": 2.0, "recoveries": 1.0,
		"mtbf_seconds": 3600.0, "mttr_seconds": nil, "health_score": nil,
		"runs":             map[string]any{"total": 10.0, "success": 7.0, "fail": 2.0, "missed": 1.0, "abandoned": 0.0, "unknown": 0.0},
		"duration_seconds": map[string]any{"count": 9.0, "mean": 2.0, "stddev": nil, "min": 1.0, "max": 4.0, "p50": 2.0, "p95": 3.5, "p99": 4.0},
		"lateness_seconds": none,
	}
	got := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/stats", nil).want(http.StatusOK)
	if d := cmp.Diff(want, got.body); d != "" {
		t.Error(d)
	}

	want["monitors"] = 5.0
	got = s.do(s.a.read, http.MethodGet, "/api/v1/stats", nil).want(http.StatusOK)
	if d := cmp.Diff(want, got.body); d != "" {
		t.Error(d)
	}

	list := s.do(s.a.read, http.MethodGet, "/api/v1/stats/monitors?limit=1", nil).want(http.StatusOK)
	if i := list.items(); len(i) != 1 || i[0]["monitor_id"] != id || i[0]["monitor_name"] != "m" || i[0]["uptime"] != 0.75 {
		t.Errorf("%s", list.raw)
	}
	list = s.do(s.a.read, http.MethodGet, "/api/v1/stats/monitors?cursor="+list.text("next_cursor"), nil).want(http.StatusOK)
	if i := list.items(); len(i) != 1 || i[0]["monitor_id"] != other || i[0]["uptime"] != nil || list.text("next_cursor") != "" {
		t.Errorf("%s", list.raw)
	}

	for query, w := range map[string]history.Window{
		"":                           {From: now.AddDate(0, 0, -30), To: now},
		"?from=2026-05-31T00:00:00Z": {From: time.Date(2026, 5, 31, 0, 0, 0, 0, time.UTC), To: now},
		"?to=2026-01-31T00:00:00Z":   {From: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)},
		"?from=2026-05-31T02:00:00%2B02:00&to=2026-06-05T00:00:00Z": {From: time.Date(2026, 5, 31, 0, 0, 0, 0, time.UTC), To: now}, // not beyond now
	} {
		for _, path := range []string{"/api/v1/stats", "/api/v1/stats/monitors", "/api/v1/monitors/" + id + "/stats"} {
			s.do(s.a.read, http.MethodGet, path+query, nil).want(http.StatusOK)
			if d := cmp.Diff(w, s.history.lastWindow()); d != "" {
				t.Errorf("%s%s: %s", path, query, d)
			}
		}
	}
	s.do(s.a.read, http.MethodGet, "/api/v1/stats?from=2026-06-02T00:00:00Z", nil).problem("query.from", "before")
	s.do(s.a.read, http.MethodGet, "/api/v1/stats?from=2026-06-02T00:00:00Z&to=2026-06-03T00:00:00Z", nil).problem("query.from", "before now")
}

func TestAFailureOfTheReaderIsOurs(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	s.history.fail = errors.New("relation pings does not exist")
	r := s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/pings", nil).want(http.StatusInternalServerError)
	if strings.Contains(string(r.raw), "relation") || !strings.Contains(s.out.String(), "relation pings") {
		t.Errorf("%s, log %s", r.raw, s.out)
	}
	s.history.fail = fmt.Errorf("read pings: %w", &net.OpError{Op: "dial", Err: errors.New("connection refused")})
	r = s.do(s.a.read, http.MethodGet, "/api/v1/monitors/"+id+"/pings", nil).want(http.StatusServiceUnavailable)
	if r.header.Get("Retry-After") == "" {
		t.Errorf("%v", r.header)
	}
}
