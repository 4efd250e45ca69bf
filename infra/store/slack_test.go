package store_test

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func slackWorkspace(team string) alert.Workspace {
	return alert.Workspace{
		TeamID: team, TeamName: "Team " + team, AppID: "A1", BotUserID: "U0BOT", Scopes: []string{"chat:write", "commands"}, Channel: "#ops", ChannelID: "C1",
		Sealed: []byte{1, 2, 3}, InstalledBy: "U0ADA", InstalledAt: time.Now().UTC().Truncate(time.Microsecond),
	}
}

func TestSlackWorkspaces(t *testing.T) {
	s := newBundle(t)
	if _, err := s.store.SlackWorkspace(s.ctx, s.a.org); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("none yet: %v", err)
	}
	first := slackWorkspace("T1")
	s.must(s.store.PutSlackWorkspace(s.ctx, s.a.org, first))
	s.must(s.store.PutSlackWorkspace(s.ctx, s.b.org, first))
	got, err := s.store.SlackWorkspace(s.ctx, s.a.org)
	s.must(err)
	want := first
	want.Org = s.a.org
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	team, err := s.store.SlackTeam(s.ctx, "T1")
	s.must(err)
	if len(team) != 2 || team[0].Org == team[1].Org {
		t.Errorf("%+v", team)
	}
	if none, err := s.store.SlackTeam(s.ctx, "T2"); err != nil || len(none) != 0 {
		t.Errorf("%+v %v", none, err)
	}

	// Another installation takes its place, also of what was revoked and of the channels that were used.
	s.must(s.store.UseSlackChannel(s.ctx, s.a.org, "C9"))
	if _, err := s.store.RevokeSlackWorkspace(s.ctx, s.a.org, first.InstalledAt, "token_revoked"); err != nil {
		t.Fatal(err)
	}
	second := slackWorkspace("T2")
	s.must(s.store.PutSlackWorkspace(s.ctx, s.a.org, second))
	if got, err = s.store.SlackWorkspace(s.ctx, s.a.org); err != nil || got.TeamID != "T2" || got.Revoked() || got.RevokedReason != "" {
		t.Errorf("%+v %v", got, err)
	}
	if used, err := s.store.SlackChannelUsed(s.ctx, s.a.org, "C9"); err != nil || used {
		t.Errorf("%t %v", used, err)
	}

	if _, err := s.store.DeleteSlackWorkspace(s.ctx, s.a.org); err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.DeleteSlackWorkspace(s.ctx, s.a.org); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("removed twice: %v", err)
	}
	if _, err := s.store.SlackWorkspace(s.ctx, s.b.org); err != nil {
		t.Errorf("the other organisation's is gone too: %v", err)
	}
}

func TestSlackRevocations(t *testing.T) {
	s := newBundle(t)
	w := slackWorkspace("T1")
	s.must(s.store.PutSlackWorkspace(s.ctx, s.a.org, w))
	s.must(s.store.PutSlackWorkspace(s.ctx, s.b.org, w))
	revoke := func(org tenant.OrgID, at time.Time) bool {
		first, err := s.store.RevokeSlackWorkspace(s.ctx, org, at, "token_revoked")
		s.must(err)
		return first
	}
	if revoke(s.a.org, w.InstalledAt.Add(-time.Hour)) {
		t.Error("an installation that is not any more was revoked")
	}
	if !revoke(s.a.org, w.InstalledAt) || revoke(s.a.org, w.InstalledAt) {
		t.Error("revoked other than once")
	}
	got, err := s.store.SlackWorkspace(s.ctx, s.a.org)
	s.must(err)
	if !got.Revoked() || got.RevokedReason != "token_revoked" {
		t.Errorf("%+v", got)
	}
	if other, err := s.store.SlackWorkspace(s.ctx, s.b.org); err != nil || other.Revoked() {
		t.Errorf("%+v %v", other, err)
	}
	for _, c := range []struct {
		team   string
		before time.Time
		want   int
	}{{"T1", w.InstalledAt.Add(-time.Second), 0}, {"T2", time.Now(), 0}, {"T1", time.Now(), 1}, {"T1", time.Now(), 0}} {
		if n, err := s.store.RevokeSlackTeam(s.ctx, c.team, c.before, "app_uninstalled"); err != nil || n != c.want {
			t.Errorf("%+v: %d %v", c, n, err)
		}
	}
}

func TestSlackChannels(t *testing.T) {
	s := newBundle(t)
	s.must(s.store.UseSlackChannel(s.ctx, s.a.org, "C1")) // without a workspace it is nothing
	if used, err := s.store.SlackChannelUsed(s.ctx, s.a.org, "C1"); err != nil || used {
		t.Errorf("%t %v", used, err)
	}
	s.must(s.store.PutSlackWorkspace(s.ctx, s.a.org, slackWorkspace("T1")))
	s.must(s.store.UseSlackChannel(s.ctx, s.a.org, "C1"))
	s.must(s.store.UseSlackChannel(s.ctx, s.a.org, "C1"))
	for org, want := range map[tenant.OrgID]bool{s.a.org: true, s.b.org: false} {
		if used, err := s.store.SlackChannelUsed(s.ctx, org, "C1"); err != nil || used != want {
			t.Errorf("%t %v", used, err)
		}
	}
}

func TestSlackStatesWorkOnce(t *testing.T) {
	s := newBundle(t)
	nonce, old := uuid.New(), uuid.New()
	s.must(s.store.PutSlackState(s.ctx, s.a.org, old, time.Now().Add(-time.Second)))
	s.must(s.store.PutSlackState(s.ctx, s.a.org, nonce, time.Now().Add(time.Minute)))
	if n := s.count(`select count(*) from slack_states`); n != 1 {
		t.Errorf("%d states: what has expired stays", n)
	}
	take := func(org tenant.OrgID, n uuid.UUID) bool {
		ok, err := s.store.TakeSlackState(s.ctx, org, n)
		s.must(err)
		return ok
	}
	if take(s.b.org, nonce) || take(s.a.org, old) || take(s.a.org, uuid.New()) {
		t.Error("a state was taken that is another's, expired or none")
	}
	if !take(s.a.org, nonce) || take(s.a.org, nonce) {
		t.Error("a state works other than once")
	}
}

func TestSlackRequestsAreSeenOnce(t *testing.T) {
	s := newBundle(t)
	sum := sha256.Sum256([]byte("request"))
	var firsts atomic.Int64
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			first, err := s.store.SeeSlackRequest(s.ctx, sum, time.Now().Add(time.Minute))
			if err != nil {
				t.Error(err)
			}
			if first {
				firsts.Add(1)
			}
		})
	}
	wait.Wait()
	if firsts.Load() != 1 {
		t.Errorf("%d were first", firsts.Load())
	}
	s.exec(`update slack_requests set expires_at = now() - interval '1 second'`)
	if _, err := s.store.SeeSlackRequest(s.ctx, sha256.Sum256([]byte("other")), time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n := s.count(`select count(*) from slack_requests`); n != 1 {
		t.Errorf("%d requests: what has expired stays", n)
	}
}

func TestSlackGoesWithItsOrganisation(t *testing.T) {
	s := newBundle(t)
	s.must(s.store.PutSlackWorkspace(s.ctx, s.b.org, slackWorkspace("T1")))
	s.must(s.store.UseSlackChannel(s.ctx, s.b.org, "C1"))
	s.must(s.store.PutSlackState(s.ctx, s.b.org, uuid.New(), time.Now().Add(time.Minute)))
	s.exec(`delete from organisations where id = $1`, s.b.org)
	if n := s.count(`select (select count(*) from slack_workspaces) + (select count(*) from slack_channels) + (select count(*) from slack_states)`); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
