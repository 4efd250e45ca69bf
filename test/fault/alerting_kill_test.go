//go:build fault

package fault

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/loadgen"
)

// oneByOne tells each alert by itself, as soon as it can, and repeats what the monitors named impatient-… have.
const oneByOne = `
route:
  receiver: hook
  group_by: [id, alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 4h
  routes:
    - matchers: ['monitor=~"impatient-.*"']
      receiver: again
      repeat_interval: 2s
receivers:
  - name: hook
    webhook_configs: [{url: "URL/hook", send_resolved: true}]
  - name: again
    webhook_configs: [{url: "URL/again", send_resolved: true}]
`

// TestKillBetweenIncidentAndDelivery kills the process 50 times at random moments between the opening of incidents and the delivery of
// their alerts. Every alert is delivered all the same, firing before resolved; fewer than 2 % come twice; a silence and an
// acknowledgement hold.
func TestKillBetweenIncidentAndDelivery(t *testing.T) {
	const rounds, perRound = 50, 8
	e := hear(t, func(n int) bool { return n%11 == 0 }) // a receiver has its own troubles
	s := newServer(t, build(t), "--storm-groups=-1")
	s.start()
	putConfig(t, s, apiKey, strings.ReplaceAll(oneByOne, "URL", e.url))
	admin, err := loadgen.NewAdmin(s.base(), apiKey)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	mk := func(prefix string, n int) []loadgen.Monitor {
		all, err := admin.Make(t.Context(), loadgen.Spec{Prefix: prefix, Count: n, Interval: time.Hour, Grace: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	loud, quiet, impatient := mk("loud", rounds*perRound), mk("quiet", 1)[0], mk("impatient", 1)[0]
	silence(t, s, quiet.ID)
	acked := acknowledged(t, s, e, impatient)
	before := len(e.list())

	// Each monitor fails once and recovers once, some rounds later or at once: of what comes and goes at one monitor between two
	// messages only the latest is told.
	recover := map[int][]loadgen.Monitor{}
	for n := range rounds {
		for _, m := range loud[n*perRound : (n+1)*perRound] {
			ping(t, s, m.PingKey, "/fail")
			when := n + rand.N(4) //nolint:gosec // a test
			recover[when] = append(recover[when], m)
		}
		for _, m := range recover[n] {
			ping(t, s, m.PingKey, "")
		}
		if n%5 == 0 {
			ping(t, s, quiet.PingKey, "/fail")
		}
		time.Sleep(rand.N(2500 * time.Millisecond)) //nolint:gosec // a test
		s.kill()
		time.Sleep(rand.N(300 * time.Millisecond)) //nolint:gosec // a test
		s.start()
	}
	for n := rounds; n < rounds+4; n++ { // all is well in the end
		for _, m := range recover[n] {
			ping(t, s, m.PingKey, "")
		}
	}
	pool, err := pg.Open(t.Context(), s.embeddedURL(), pg.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	everyAlertTold(t, pool, e, quiet.ID, rounds*perRound, 2)
	stillQuiet(t, s, e, before, quiet, impatient, acked)
}

// TestKillInAStorm kills the process while many groups are told together: every alert is delivered all the same, firing before resolved.
// A storm's message lists its alerts again when more come, so what comes twice is only told here.
func TestKillInAStorm(t *testing.T) {
	const monitors = 150
	e := hear(t, func(n int) bool { return n%11 == 0 })
	s := newServer(t, build(t))
	s.start()
	putConfig(t, s, apiKey, strings.ReplaceAll(oneByOne, "URL", e.url))
	admin, err := loadgen.NewAdmin(s.base(), apiKey)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	all, err := admin.Make(t.Context(), loadgen.Spec{Prefix: "storm", Count: monitors, Interval: time.Hour, Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"/fail", ""} {
		for i, m := range all {
			ping(t, s, m.PingKey, end)
			if i%25 == 24 {
				time.Sleep(rand.N(8 * time.Second)) //nolint:gosec // a test
				s.kill()
				s.start()
			}
		}
		time.Sleep(rand.N(20 * time.Second)) //nolint:gosec // a test
	}
	everyAlertTold(t, openEmbedded(t, s), e, "", monitors, 100)
}

// silence silences everything of a monitor for a day.
func silence(t *testing.T, s *server, monitor string) {
	t.Helper()
	now := time.Now()
	rest(t, s, apiKey, http.MethodPost, "/alertmanager/api/v2/silences", map[string]any{
		"matchers": []map[string]any{{"name": "id", "value": monitor, "isRegex": false, "isEqual": true}},
		"startsAt": now, "endsAt": now.Add(24 * time.Hour), "createdBy": "the test", "comment": "it is to be quiet",
	}, nil)
}

// acknowledged lets a monitor fail, waits until it was told twice, acknowledges its incident and returns that.
func acknowledged(t *testing.T, s *server, e *ear, m loadgen.Monitor) string {
	t.Helper()
	ping(t, s, m.PingKey, "/fail")
	id := ""
	eventually(t, time.Minute, "the impatient monitor is told again and again", func() bool {
		n := 0
		for _, h := range e.list() {
			if h.Receiver == "again" {
				n++
				id = h.Alerts[0].Annotations["incident_id"]
			}
		}
		return n >= 2
	})
	rest(t, s, apiKey, http.MethodPost, "/api/v1/incidents/"+id+"/acknowledge", nil, nil)
	time.Sleep(5 * time.Second) // what was on its way arrives
	return id
}

// everyAlertTold waits until each incident, but for the silenced monitor's, was told as it stands, and counts what came twice.
func everyAlertTold(t *testing.T, pool *pgxpool.Pool, e *ear, silenced string, least int, bar float64) {
	t.Helper()
	rows, err := pool.Query(t.Context(), `select id::text, resolved_at is not null from incidents where monitor_id::text <> $1`, silenced)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var want []string
	incidents := 0
	for rows.Next() {
		var id string
		var resolved bool
		if err := rows.Scan(&id, &resolved); err != nil {
			t.Fatal(err)
		}
		incidents++
		want = append(want, id+"/firing")
		if resolved {
			want = append(want, id+"/resolved")
		}
	}
	missing := func() []string {
		told := map[string]bool{}
		for _, m := range e.told() {
			told[m] = true
		}
		return slices.DeleteFunc(slices.Clone(want), func(m string) bool { return told[m] })
	}
	for deadline := time.Now().Add(2 * time.Minute); len(missing()) > 0 && time.Now().Before(deadline); {
		time.Sleep(200 * time.Millisecond)
	}
	if m := missing(); len(m) > 0 {
		t.Errorf("%d of %d messages were never delivered: %v", len(m), len(want), m)
	}
	time.Sleep(5 * time.Second) // what comes twice comes now
	count := map[string]int{}
	again := 0
	for _, h := range e.list() {
		if h.Receiver != "hook" {
			continue // which is to repeat
		}
		for _, a := range h.Alerts {
			m := a.Annotations["incident_id"] + "/" + a.Status
			if count[m]++; count[m] > 1 {
				again++
			}
			if a.Status == "resolved" && count[a.Annotations["incident_id"]+"/firing"] == 0 {
				t.Errorf("resolved before firing: %s", a.Annotations["incident_id"])
			}
		}
	}
	part := 100 * float64(again) / float64(max(1, len(count)))
	t.Logf("%d incidents, %d messages, %d of them came again: %.2f %%", incidents, len(count), again, part)
	if part >= bar {
		t.Errorf("%.2f %% came twice; the bar is %.0f %%", part, bar)
	}
	if incidents < least {
		t.Errorf("%d incidents: too few to say anything", incidents)
	}
}

// stillQuiet: nothing was told of the silenced monitor, nor again of the acknowledged incident; both still stand.
func stillQuiet(t *testing.T, s *server, e *ear, before int, quiet, impatient loadgen.Monitor, acked string) {
	t.Helper()
	for i, h := range e.list() {
		for _, a := range h.Alerts {
			if a.Labels["id"] == quiet.ID {
				t.Errorf("a silenced alert was told at %v", h.at)
			}
			if i >= before && a.Labels["id"] == impatient.ID {
				t.Errorf("an acknowledged alert was told again at %v", h.at)
			}
		}
	}
	var alerts []struct {
		Labels      map[string]string
		Annotations map[string]string
		Status      struct{ SilencedBy []string }
	}
	rest(t, s, apiKey, http.MethodGet, "/alertmanager/api/v2/alerts", nil, &alerts)
	seen := 0
	for _, a := range alerts {
		switch a.Labels["id"] {
		case quiet.ID:
			seen++
			if len(a.Status.SilencedBy) != 1 {
				t.Errorf("the silence is gone: %+v", a)
			}
		case impatient.ID:
			seen++
			if a.Annotations["acknowledged_by"] == "" || a.Annotations["incident_id"] != acked {
				t.Errorf("the acknowledgement is gone: %+v", a)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d of the 2 alerts that still fire are there", seen)
	}
}
