package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func remote(name string) forward.Forward {
	return forward.Forward{
		Name: name,
		Config: forward.Config{
			Kind: forward.RemoteWrite, URL: "https://prometheus.example.com/api/v1/write", Interval: time.Minute,
			ExternalLabels: map[string]string{"from": "tokiflow"}, Metrics: []string{"tokiflow_*"},
		},
		Hints:  forward.Hints{Authentication: "basic", Headers: []string{"X-Scope-OrgID"}},
		Sealed: []byte("sealed"),
	}
}

func (s *bundle) putForward(org tenant.OrgID, f forward.Forward) bool {
	s.t.Helper()
	created, err := s.store.PutForward(s.ctx, org, f)
	s.must(err)
	return created
}

func (s *bundle) claimForwards(holder uuid.UUID) []forward.Claim {
	s.t.Helper()
	claims, err := s.store.ClaimForwards(s.ctx, holder, 10, time.Minute)
	s.must(err)
	return claims
}

func TestForwardsAreKeptByOrganisation(t *testing.T) {
	s := newBundle(t)
	f := remote("home")
	if !s.putForward(s.a.org, f) || s.putForward(s.a.org, f) || !s.putForward(s.b.org, f) {
		t.Error("created at first, replaced at second, another organisation's is another")
	}
	got, err := s.store.Forward(s.ctx, s.a.org, "home")
	s.must(err)
	want := f
	want.Org, want.Sealed = s.a.org, nil
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(forward.Forward{}, "CreatedAt", "UpdatedAt"), cmpopts.IgnoreFields(forward.Status{}, "Position")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if got.CreatedAt.IsZero() || !got.Status.Position.Equal(got.CreatedAt) {
		t.Errorf("it begins at %v, made at %v", got.Status.Position, got.CreatedAt)
	}
	if err := s.store.DeleteForward(s.ctx, s.b.org, "home"); err != nil {
		t.Error(err)
	}
	for _, org := range []tenant.OrgID{s.b.org, {}} {
		if _, err := s.store.Forward(s.ctx, org, "home"); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("another's: %v", err)
		}
		if list, err := s.store.Forwards(s.ctx, org); err != nil || len(list) != 0 {
			t.Errorf("another's: %v, %v", list, err)
		}
		if err := s.store.DeleteForward(s.ctx, org, "home"); fault.CodeOf(err) != fault.NotFound {
			t.Errorf("another's: %v", err)
		}
	}
	if list, err := s.store.Forwards(s.ctx, s.a.org); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := s.store.Forward(s.ctx, s.a.org, ""); fault.CodeOf(err) != fault.NotFound {
		t.Errorf("no name: %v", err)
	}
	for i := 1; i < forward.Most; i++ {
		s.putForward(s.a.org, remote(fmt.Sprint("further-", i)))
	}
	if _, err := s.store.PutForward(s.ctx, s.a.org, remote("too-many")); !errors.Is(err, forward.ErrTooMany) {
		t.Errorf("too many: %v", err)
	}
	if s.putForward(s.a.org, f) {
		t.Error("the one that was there cannot be replaced")
	}
}

func TestOneProcessWorksOnAForward(t *testing.T) {
	s := newBundle(t)
	s.putForward(s.a.org, remote("home"))
	s.putForward(s.b.org, remote("home"))
	one, two := uuid.New(), uuid.New()
	claims := s.claimForwards(one)
	if len(claims) != 2 || string(claims[0].Sealed) != "sealed" || claims[0].Config.Kind != forward.RemoteWrite {
		t.Fatalf("claimed %+v", claims)
	}
	if more := s.claimForwards(two); len(more) != 0 {
		t.Errorf("claimed twice: %+v", more)
	}
	mine, err := s.store.RenewForwards(s.ctx, one, time.Minute)
	s.must(err)
	if len(mine) != 2 || mine[claims[0].Key()] != claims[0].Epoch {
		t.Errorf("renewed %v", mine)
	}

	c := claims[0]
	to := c.Status.Position.Add(time.Minute)
	s.must(s.store.AdvanceForward(s.ctx, c.Org, &c, forward.Step{To: to, Sent: 5, Rejected: 2, Skipped: 90 * time.Second, Error: "refused"}))
	s.must(s.store.FailForward(s.ctx, c.Org, &c, "no route"))
	s.must(s.store.FailForward(s.ctx, c.Org, &c, "no way"))
	got, err := s.store.Forward(s.ctx, c.Org, "home")
	s.must(err)
	st := got.Status
	if !st.Position.Equal(to) || st.Sent != 5 || st.Rejected != 2 || st.Skipped != 90*time.Second || st.Error != "no way" || st.FailedTries != 2 || st.SentAt.IsZero() {
		t.Errorf("status %+v", st)
	}
	s.must(s.store.AdvanceForward(s.ctx, c.Org, &c, forward.Step{To: to, Sent: 1}))
	if got, err = s.store.Forward(s.ctx, c.Org, "home"); err != nil || got.Status.Error != "" || !got.Status.ErrorAt.IsZero() || got.Status.FailedTries != 0 {
		t.Errorf("once it goes well: %+v, %v", got.Status, err)
	}

	// Whoever is not the holder any more changes nothing: after a change, after the lease, in another organisation.
	foreign := c
	if err := s.store.AdvanceForward(s.ctx, s.other(c.Org), &foreign, forward.Step{To: to}); !errors.Is(err, forward.ErrLost) {
		t.Errorf("another organisation's: %v", err)
	}
	s.putForward(c.Org, remote("home"))
	for _, err := range []error{
		s.store.AdvanceForward(s.ctx, c.Org, &c, forward.Step{To: to.Add(time.Hour)}), s.store.FailForward(s.ctx, c.Org, &c, "late"),
	} {
		if !errors.Is(err, forward.ErrLost) {
			t.Errorf("after a change: %v", err)
		}
	}
	if mine, err = s.store.RenewForwards(s.ctx, one, time.Minute); err != nil || len(mine) != 1 {
		t.Errorf("renewed after a change: %v, %v", mine, err)
	}
	d := claims[1]
	s.exec(`update forwards set leased_until = now() - interval '1 second' where org_id = $1`, d.Org)
	if got := s.claimForwards(two); len(got) != 2 || got[0].Holder != two {
		t.Errorf("after the lease: %+v", got)
	}
	if err := s.store.AdvanceForward(s.ctx, d.Org, &d, forward.Step{To: to}); !errors.Is(err, forward.ErrLost) {
		t.Errorf("after the lease: %v", err)
	}
	s.must(s.store.ReleaseForward(s.ctx, d.Org, &d)) // not its own any more: nothing happens
	if got := s.claimForwards(one); len(got) != 0 {
		t.Errorf("somebody else's was released: %+v", got)
	}
}

func TestAReleasedForwardIsFree(t *testing.T) {
	s := newBundle(t)
	s.putForward(s.a.org, remote("home"))
	c := s.claimForwards(uuid.New())[0]
	s.must(s.store.ReleaseForward(s.ctx, c.Org, &c))
	again := s.claimForwards(uuid.New())
	if len(again) != 1 || again[0].Epoch <= c.Epoch {
		t.Errorf("claimed again: %+v", again)
	}
	s.must(s.store.DeleteForward(s.ctx, s.a.org, "home"))
	s.putForward(s.a.org, remote("home"))
	if third := s.claimForwards(again[0].Holder); len(third) != 1 || third[0].Epoch <= again[0].Epoch {
		t.Errorf("one of the same name begins with an epoch that was: %+v", third)
	}
}

// other is the organisation that org is not.
func (s *bundle) other(org tenant.OrgID) tenant.OrgID {
	if org == s.a.org {
		return s.b.org
	}
	return s.a.org
}
