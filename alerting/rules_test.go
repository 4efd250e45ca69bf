package alerting_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/store"
)

// TestAlertsOfRulesGoTheSameWay: they have no incident, but go through outbox and relay like those that have: signed, in order for
// each alert, and repeated until they are taken.
func TestAlertsOfRulesGoTheSameWay(t *testing.T) {
	w := newWay(t, pgtest.NewURL(t))
	s := store.New(w.pool)
	org := tenant.OrgID{UUID: uuid.New()}
	w.exec(`insert into organisations (id, name) values ($1, 'o')`, org.UUID)

	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	const alerts = 20
	var mu sync.Mutex
	taken := map[string][]rule.Message{} // by fingerprint
	ids := map[string]string{}           // the id of each message, to what it says
	tries := map[string]int{}
	done := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(body, r.Header)
		}
		var m rule.Message
		if err == nil {
			err = json.Unmarshal(body, &m)
		}
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		id := r.Header.Get("webhook-id")
		if said, again := ids[id]; again && said != m.Type+m.Data.Alert.Fingerprint {
			t.Errorf("%s says two things", id)
		}
		ids[id] = m.Type + m.Data.Alert.Fingerprint
		if tries[id]++; tries[id] < 3 && m.Type == rule.TypeFiring {
			rw.WriteHeader(http.StatusInternalServerError)
			return
		}
		taken[m.Data.Alert.Fingerprint] = append(taken[m.Data.Alert.Fingerprint], m)
		n := 0
		for _, all := range taken {
			n += len(all)
		}
		if n == 2*alerts {
			close(done)
		}
	}))
	t.Cleanup(server.Close)
	stop := w.relay(server.URL)
	defer stop()

	now := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	g := rule.Group{Name: "g", Rules: []rule.Definition{{Alert: "A", Expr: "x"}}}
	if _, err := s.PutRuleGroup(w.ctx, org, g, now); err != nil {
		t.Fatal(err)
	}
	for i, state := range []rule.State{rule.Firing, rule.Inactive} {
		claims, err := s.ClaimRuleGroups(w.ctx, now.Add(time.Hour), 1, time.Minute)
		if err != nil || len(claims) != 1 {
			t.Fatal(claims, err)
		}
		c := claims[0]
		e := rule.Evaluated{Claim: c, At: c.Due, Next: c.Due.Add(time.Minute)}
		for n := range alerts {
			labels := []series.Label{{Name: "alertname", Value: "A"}, {Name: "n", Value: strings.Repeat("x", n)}}
			from := []rule.State{rule.Pending, rule.Firing}[i]
			m, _ := rule.MessageOf(rule.Change{Alert: rule.Alert{State: state, Labels: labels}, From: from, To: state, FiredAt: now}, c.Due, "")
			e.MustBeSaid = append(e.MustBeSaid, rule.Said{ID: rule.ID(org, labels), Message: m})
		}
		if stored, err := s.CommitRuleGroup(w.ctx, org, e); !stored || err != nil {
			t.Fatal(stored, err)
		}
	}
	select {
	case <-done:
	case <-w.ctx.Done():
		t.Fatal("not all messages came")
	}
	mu.Lock()
	defer mu.Unlock()
	if len(taken) != alerts {
		t.Errorf("%d alerts, want %d", len(taken), alerts)
	}
	for _, all := range taken {
		if len(all) != 2 || all[0].Type != rule.TypeFiring || all[1].Type != rule.TypeResolved || all[0].Data.Alert.EndsAt != nil ||
			all[1].Data.Alert.EndsAt == nil || !all[1].Data.Alert.StartsAt.Equal(now) {
			t.Errorf("%+v", all)
		}
	}
}
