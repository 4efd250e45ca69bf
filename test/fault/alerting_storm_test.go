//go:build fault

package fault

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/loadgen"
)

// memory is what the server's process holds of the machine's memory, in MiB.
func memory(t *testing.T, s *server) float64 {
	t.Helper()
	s.mu.Lock()
	pid := s.cmd.Process.Pid
	s.mu.Unlock()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("SKIPPED, NOT RUN: the memory of a process is read from /proc: %v", err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no VmRSS in %s", text)
	}
	kib, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

// TestAStormOfOneProject lets 3,000 monitors of one project go down in the same minute: at most 10 notifications tell it, the last
// alert is delivered within 30 s of its deadline, and the memory stays bounded. So it is when all recover.
func TestAStormOfOneProject(t *testing.T) {
	const monitors = 3000
	e := hear(t, nil)
	s := newServer(t, build(t))
	s.start()
	putConfig(t, s, apiKey, fmt.Sprintf(`
route: {receiver: hook, group_by: [project], group_wait: 10s, group_interval: 15s, repeat_interval: 4h}
receivers: [{name: hook, webhook_configs: [{url: "%s/hook", send_resolved: true}]}]
`, e.url))
	admin, err := loadgen.NewAdmin(s.base(), apiKey)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	all, err := admin.Make(t.Context(), loadgen.Spec{Prefix: "storm", Count: monitors, Interval: time.Minute, Grace: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	idle := memory(t, s)
	pingAll(t, s, all)
	t.Logf("%d monitors pinged; %.0f MiB", len(all), idle)
	most := 0.0
	eventually(t, 4*time.Minute, "all alerts are told", func() bool {
		most = max(most, memory(t, s))
		return len(e.first("firing")) == monitors
	})
	n, late := len(e.list()), time.Duration(0)
	for _, f := range e.first("firing") {
		late = max(late, f.at.Sub(f.alert.StartsAt))
	}
	t.Logf("%d notifications; the last alert %v after its deadline; at most %.0f MiB", n, late.Round(time.Millisecond), most)
	if n > 10 {
		t.Errorf("%d notifications of one storm", n)
	}
	if late > 30*time.Second {
		t.Errorf("an alert was delivered %v after its deadline", late)
	}
	if most > idle+300 {
		t.Errorf("the storm took %.0f MiB", most-idle)
	}
	pingAll(t, s, all)
	eventually(t, 2*time.Minute, "all recoveries are told", func() bool { return len(e.first("resolved")) == monitors })
	if more := len(e.list()) - n; more > 10 {
		t.Errorf("%d notifications of one recovery", more)
	}
	var notifications struct {
		Items []struct {
			AlertCount int `json:"alert_count"`
		} `json:"items"`
	}
	rest(t, s, apiKey, http.MethodGet, "/api/v1/notifications?receiver=hook", nil, &notifications)
	if len(notifications.Items) == 0 {
		t.Error("no notification was written down")
	}
}

// firstHeard is when an alert was first heard with a status.
type firstHeard struct {
	at    time.Time
	alert groupAlert
}

// first finds, by monitor, when its alert was heard first with that status.
func (e *ear) first(status string) map[string]firstHeard {
	found := map[string]firstHeard{}
	for _, h := range e.list() {
		for _, a := range h.Alerts {
			if _, ok := found[a.Labels["id"]]; a.Status == status && !ok {
				found[a.Labels["id"]] = firstHeard{h.at, a}
			}
		}
	}
	return found
}

// pingAll pings every monitor once, several at a time.
func pingAll(t *testing.T, s *server, all []loadgen.Monitor) {
	t.Helper()
	var wg sync.WaitGroup
	work := make(chan loadgen.Monitor)
	for range 16 {
		wg.Go(func() {
			for m := range work {
				if err := try(s, m.PingKey); err != nil {
					t.Errorf("a ping: %v", err)
				}
			}
		})
	}
	for _, m := range all {
		work <- m
	}
	close(work)
	wg.Wait()
}

// try sends one ping.
func try(s *server, key string) error {
	res, err := http.Post(s.base()+"/ping/"+key, "text/plain", strings.NewReader("")) //nolint:noctx // a test
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}
