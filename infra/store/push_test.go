package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func grouping(job string) []series.Label { return []series.Label{{Name: "job", Value: job}} }

// push stores a group with a body.
func (s *bundle) push(org tenant.OrgID, job, body string, at time.Time, change func(*series.LockedGroup)) {
	s.t.Helper()
	s.must(s.store.ChangePushGroup(s.ctx, org, grouping(job), func(g *series.LockedGroup) error {
		g.Body, g.PushedAt, g.LastAt = []byte(body), at, at
		if change != nil {
			change(g)
		}
		return nil
	}))
}

// locked is a group as the next one to change it finds it; nothing is changed.
func (s *bundle) locked(org tenant.OrgID, job string) series.LockedGroup {
	s.t.Helper()
	var found series.LockedGroup
	enough := errors.New("enough")
	err := s.store.ChangePushGroup(s.ctx, org, grouping(job), func(g *series.LockedGroup) error {
		found = *g
		return enough
	})
	if !errors.Is(err, enough) {
		s.t.Fatalf("the error of f is not returned: %v", err)
	}
	return found
}

func TestPushGroupRoundTrip(t *testing.T) {
	s := newBundle(t)
	if g := s.locked(s.a.org, "backup"); g.Found || g.Body == nil || !g.PushedAt.IsZero() || !g.ExpiresAt.IsZero() {
		t.Errorf("%+v", g)
	}
	want := series.Group{
		Org: s.a.org, Labels: grouping("backup"), Body: []byte("body\x00\xff"), TTL: 10 * time.Minute, PushedAt: noon(),
		FailedAt: noon().Add(-time.Hour), ExpiresAt: noon().Add(10 * time.Minute), LastAt: noon().Add(time.Millisecond),
	}
	s.push(s.a.org, "backup", "", noon(), func(g *series.LockedGroup) { g.Group = want })
	got := s.locked(s.a.org, "backup")
	if diff := cmp.Diff(want, got.Group); diff != "" || !got.Found || !got.After.Equal(want.LastAt) {
		t.Errorf("%+v\n%s", got, diff)
	}
	list, err := s.store.PushGroups(s.ctx, s.a.org, nil, 10)
	s.must(err)
	if diff := cmp.Diff([]series.Group{want}, list); diff != "" {
		t.Error(diff)
	}
	s.push(s.a.org, "backup", "", noon(), func(g *series.LockedGroup) { g.Drop = true })
	s.push(s.a.org, "never", "", noon(), func(g *series.LockedGroup) { g.Drop = true })
	if list, err := s.store.PushGroups(s.ctx, s.a.org, nil, 10); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestPushGroupsOfOthers: another organisation's group of the same labels is another group.
func TestPushGroupsOfOthers(t *testing.T) {
	s := newBundle(t)
	s.push(s.a.org, "backup", "a", noon(), func(g *series.LockedGroup) { g.Metrics = map[string]string{"m": "gauge"} })
	s.push(s.b.org, "backup", "b", noon(), func(g *series.LockedGroup) {
		if name, _, err := g.TypeElsewhere(s.ctx, map[string]string{"m": "counter"}); name != "" || err != nil {
			t.Errorf("%q, %v", name, err)
		}
	})
	s.push(s.b.org, "backup", "", noon(), func(g *series.LockedGroup) { g.Drop = true })
	if g := s.locked(s.a.org, "backup"); string(g.Body) != "a" {
		t.Errorf("%+v", g)
	}
	if g := s.locked(s.b.org, "backup"); g.Found {
		t.Errorf("%+v", g)
	}
}

func TestPushTypes(t *testing.T) {
	s := newBundle(t)
	for i := range 3 {
		s.push(s.a.org, fmt.Sprint("j", i), "", noon(), func(g *series.LockedGroup) {
			g.Metrics = map[string]string{"m": "gauge", fmt.Sprint("own", i): "counter", "untyped": ""}
		})
	}
	for _, c := range []struct {
		job         string
		metrics     map[string]string
		name, other string
	}{
		{"j0", map[string]string{"m": "gauge", "new": "gauge", "untyped": ""}, "", ""},
		{"j0", map[string]string{"m": "counter"}, "m", "gauge"},
		{"j0", map[string]string{"m": "summary"}, "m", "gauge"},
		{"j0", map[string]string{"untyped": "gauge"}, "untyped", ""},
		{"j0", map[string]string{"own0": "gauge"}, "", ""},
		{"j1", map[string]string{"own0": "gauge"}, "own0", "counter"},
		{"new", map[string]string{"own2": "gauge"}, "own2", "counter"},
		{"new", nil, "", ""},
	} {
		g := func() (name, other string) {
			_ = s.store.ChangePushGroup(s.ctx, s.a.org, grouping(c.job), func(g *series.LockedGroup) (err error) {
				if name, other, err = g.TypeElsewhere(s.ctx, c.metrics); err != nil {
					t.Error(err)
				}
				return errors.New("enough")
			})
			return name, other
		}
		if name, other := g(); name != c.name || other != c.other {
			t.Errorf("%s %v: %q %q", c.job, c.metrics, name, other)
		}
	}
	// What a group no longer has is no longer in the way.
	s.push(s.a.org, "j0", "", noon(), func(g *series.LockedGroup) { g.Metrics = map[string]string{} })
	s.push(s.a.org, "j1", "", noon(), func(g *series.LockedGroup) {
		if name, _, err := g.TypeElsewhere(s.ctx, map[string]string{"own0": "gauge"}); name != "" || err != nil {
			t.Errorf("%q, %v", name, err)
		}
	})
}

// TestPushGroupIsLocked: two that change a group do it one after the other, also when it is new.
func TestPushGroupIsLocked(t *testing.T) {
	s := newBundle(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				err := s.store.ChangePushGroup(s.ctx, s.a.org, grouping("backup"), func(g *series.LockedGroup) error {
					g.Body = append(g.Body, '.')
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if g := s.locked(s.a.org, "backup"); len(g.Body) != 40 {
		t.Errorf("%d of 40 changes are there", len(g.Body))
	}
}

// TestPushBeat: one process gets each instant, and its groups are those that stood unchanged at it.
func TestPushBeat(t *testing.T) {
	s := newBundle(t)
	claim := func(at time.Time) bool {
		t.Helper()
		ok, err := s.store.ClaimPushBeat(s.ctx, at, time.Minute)
		s.must(err)
		return ok
	}
	for i := range 5 {
		s.push(s.a.org, fmt.Sprint("j", i), "a", noon().Add(-time.Hour), nil)
		s.push(s.b.org, fmt.Sprint("j", i), "b", noon().Add(-time.Hour), nil)
	}
	if !claim(noon()) || claim(noon()) || claim(noon().Add(59*time.Second)) || !claim(noon().Add(time.Minute)) || claim(noon()) {
		t.Error("an instant is claimed twice, or not at all")
	}
	at := noon().Add(time.Minute)
	if g := s.locked(s.a.org, "j0"); !g.After.Equal(at) {
		t.Errorf("samples may be written from %v on", g.After)
	}
	s.push(s.a.org, "j0", "late", at, nil)
	s.push(s.a.org, "j1", "over", at.Add(-time.Second), func(g *series.LockedGroup) { g.ExpiresAt = at })
	// j2 is being changed while the beat passes.
	var got []string
	err := s.store.ChangePushGroup(s.ctx, s.a.org, grouping("j2"), func(*series.LockedGroup) error {
		var c series.GroupCursor
		for more := true; more; {
			var err error
			more, err = s.store.BeatPushGroups(s.ctx, at, &c, 3, func(groups []series.Group) error {
				for _, g := range groups {
					got = append(got, string(g.Body)+g.Labels[0].Value)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	s.must(err)
	want := []string{"aj3", "aj4", "bj0", "bj1", "bj2", "bj3", "bj4"}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Error(diff)
	}
	// A page that failed comes again.
	var c series.GroupCursor
	failed := errors.New("no log")
	if _, err := s.store.BeatPushGroups(s.ctx, at, &c, 3, func([]series.Group) error { return failed }); !errors.Is(err, failed) || c.Key != nil {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestExpirePushGroups(t *testing.T) {
	s := newBundle(t)
	if at, err := s.store.NextPushExpiry(s.ctx); err != nil || !at.IsZero() {
		t.Errorf("%v, %v", at, err)
	}
	for i := range 4 {
		s.push(s.a.org, fmt.Sprint("j", i), "", noon(), func(g *series.LockedGroup) {
			g.Metrics = map[string]string{"m": "gauge"}
			if i > 0 {
				g.ExpiresAt = noon().Add(time.Duration(i) * time.Minute)
			}
		})
	}
	if at, err := s.store.NextPushExpiry(s.ctx); err != nil || !at.Equal(noon().Add(time.Minute)) {
		t.Errorf("%v, %v", at, err)
	}
	failed := errors.New("no log")
	if _, err := s.store.ExpirePushGroups(s.ctx, noon().Add(2*time.Minute), 10, func([]series.Group) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	var got []string
	n, err := s.store.ExpirePushGroups(s.ctx, noon().Add(2*time.Minute), 10, func(groups []series.Group) error {
		for _, g := range groups {
			got = append(got, g.Labels[0].Value)
		}
		return nil
	})
	if diff := cmp.Diff([]string{"j1", "j2"}, got); diff != "" || err != nil || n != 2 {
		t.Errorf("%d, %v\n%s", n, err, diff)
	}
	if n, err := s.store.ExpirePushGroups(s.ctx, noon().Add(2*time.Minute), 10, func([]series.Group) error { return failed }); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}

// TestPushWithoutDatabase is told as what it is.
func TestPushWithoutDatabase(t *testing.T) {
	s := newBundle(t)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if err := s.store.ChangePushGroup(ctx, s.a.org, grouping("j"), func(*series.LockedGroup) error { return nil }); err == nil || fault.CodeOf(err) == fault.NotFound {
		t.Errorf("%v", err)
	}
}

// TestAnOrganisationHasSoManyPushGroups: every one of them is written again each minute, for ever.
func TestAnOrganisationHasSoManyPushGroups(t *testing.T) {
	s := newBundle(t)
	s.exec(`insert into push_groups (org_id, key, labels, body, ttl_ms, last_at)
		select $1, decode(md5(i::text), 'hex'), '{}', '', 0, now() from generate_series(1, 9999) as i`, s.a.org)
	change := func(org tenant.OrgID, job string) error {
		return s.store.ChangePushGroup(s.ctx, org, grouping(job), func(g *series.LockedGroup) error { g.Body = []byte("b"); return nil })
	}
	s.must(change(s.a.org, "last"))
	if err := change(s.a.org, "one more"); fault.CodeOf(err) != fault.Invalid || !strings.Contains(err.Error(), "10000") {
		t.Error(err)
	}
	s.must(change(s.a.org, "last"))
	s.must(change(s.b.org, "one more"))
	if n := s.count(`select count(*) from push_groups where org_id = $1`, s.a.org); n != 10_000 {
		t.Errorf("%d groups", n)
	}
}
