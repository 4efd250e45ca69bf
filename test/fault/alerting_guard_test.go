//go:build fault

package fault

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/loadgen"
)

// TestTheGuardHoldsBackWhatWasMissed lets the pings of the whole installation fall away: what was missed since then is not told, until
// they have come again for five minutes. What has recovered by then is never told.
func TestTheGuardHoldsBackWhatWasMissed(t *testing.T) {
	e := hear(t, nil)
	s := newServer(t, build(t))
	s.start()
	putConfig(t, s, apiKey, fmt.Sprintf(`
route: {receiver: hook, group_by: [id], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
receivers: [{name: hook, webhook_configs: [{url: "%s/hook", send_resolved: true}]}]
`, e.url))
	// It has had 60 pings a minute, for an hour.
	pool := openEmbedded(t, s)
	if _, err := pool.Exec(t.Context(), `
		insert into guard_minutes (at, pings, processes, believed)
		select date_trunc('minute', now()) - i * interval '1 minute', 60, 1, true from generate_series(0, 60) as i
		on conflict (at) do update set pings = 60, processes = 1, believed = true`); err != nil {
		t.Fatal(err)
	}
	admin, err := loadgen.NewAdmin(s.base(), apiKey)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	short, err := admin.Make(t.Context(), loadgen.Spec{Prefix: "short", Count: 2, Interval: 2 * time.Minute, Grace: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	busy, err := admin.Make(t.Context(), loadgen.Spec{Prefix: "busy", Count: 1, Interval: time.Hour, Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range short {
		ping(t, s, m.PingKey, "")
	}
	eventually(t, 3*time.Minute, "the guard sees that the pings have fallen", func() bool { return guardState(t, s) != "normal" })
	eventually(t, 3*time.Minute, "both monitors are missed", func() bool {
		return count(t, pool, `select count(*) from incidents where kind = 'missed' and resolved_at is null`) == 2
	})
	time.Sleep(20 * time.Second)
	if told := e.told(); len(told) > 0 {
		t.Errorf("what was missed in a fall was told: %v", told)
	}
	if detail := get(t, s, "/readyz"); !strings.Contains(detail, "ready") || !strings.Contains(detail, "guard") {
		t.Errorf("/readyz does not tell of it: %s", detail)
	}
	ping(t, s, short[0].PingKey, "")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			_ = try(s, busy[0].PingKey) // how many were taken the guard says
			_ = try(s, short[0].PingKey)
			sleep(ctx, 700*time.Millisecond)
		}
	}()
	eventually(t, 10*time.Minute, "the guard sees that they come again", func() bool { return guardState(t, s) == "normal" })
	eventually(t, time.Minute, "what is still missed is told", func() bool {
		_, ok := e.first("firing")[short[1].ID]
		return ok
	})
	time.Sleep(10 * time.Second)
	for _, h := range e.list() {
		for _, a := range h.Alerts {
			if a.Labels["id"] == short[0].ID {
				t.Errorf("what had recovered was told: %s at %v", a.Status, h.at)
			}
		}
	}
}

// guardState reads the state of the guard from the process's metrics.
func guardState(t *testing.T, s *server) string {
	t.Helper()
	for _, line := range strings.Split(get(t, s, "/metrics"), "\n") {
		if rest, ok := strings.CutPrefix(line, `tokiflow_guard_state{state="`); ok {
			if state, ok := strings.CutSuffix(rest, `"} 1`); ok {
				return state
			}
		}
	}
	t.Fatal("no state of the guard among the metrics")
	return ""
}

func get(t *testing.T, s *server, path string) string {
	t.Helper()
	res, err := http.Get(s.base() + path) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
