package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/infra/store"
)

func TestDiscordConnectionsBelongToTheirOrganisation(t *testing.T) {
	s := newBundle(t)
	at := time.Date(2026, 1, 1, 2, 3, 4, 0, time.UTC)
	c := alert.DiscordConnection{
		Name: "ops", WebhookID: "1", WebhookName: "Tokiflow", ChannelID: "2", GuildID: "3", Sealed: []byte("sealed"), ConnectedAt: at,
	}
	s.must(s.store.PutDiscordConnection(s.ctx, s.a.org, c))
	c.ChannelID, c.Sealed = "4", []byte("again")
	s.must(s.store.PutDiscordConnection(s.ctx, s.a.org, c)) // in place of the first
	got, err := s.store.DiscordConnection(s.ctx, s.a.org, "ops")
	s.must(err)
	got.ConnectedAt = got.ConnectedAt.UTC()
	if d := cmp.Diff(c, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if _, err := s.store.DiscordConnection(s.ctx, s.b.org, "ops"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of another organisation: %v", err)
	}
	if err := s.store.DeleteDiscordConnection(s.ctx, s.b.org, "ops"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of another organisation: %v", err)
	}
	for org, want := range map[owner]int{s.a: 1, s.b: 0} {
		all, err := s.store.DiscordConnections(s.ctx, org.org)
		s.must(err)
		if len(all) != want {
			t.Errorf("%d connections, want %d", len(all), want)
		}
	}
	s.must(s.store.DeleteDiscordConnection(s.ctx, s.a.org, "ops"))
	if _, err := s.store.DiscordConnection(s.ctx, s.a.org, "ops"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func TestDiscordStatesAreTakenOnce(t *testing.T) {
	s := newBundle(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	add := func(sum string, at time.Time) {
		t.Helper()
		s.must(s.store.AddDiscordState(s.ctx, s.a.org, alert.DiscordState{
			Sum: []byte(sum), Browser: []byte("browser"), Name: "ops", ExpiresAt: at.Add(time.Minute),
		}, at))
	}
	add("one", now)
	for _, c := range []struct {
		org          owner
		sum, browser string
	}{{s.b, "one", "browser"}, {s.a, "two", "browser"}, {s.a, "one", "another"}} {
		if _, err := s.store.TakeDiscordState(s.ctx, c.org.org, []byte(c.sum), []byte(c.browser)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s, %s: %v", c.sum, c.browser, err)
		}
	}
	got, err := s.store.TakeDiscordState(s.ctx, s.a.org, []byte("one"), []byte("browser"))
	s.must(err)
	if got.Name != "ops" || !got.ExpiresAt.Equal(now.Add(time.Minute)) {
		t.Errorf("%+v", got)
	}
	if _, err := s.store.TakeDiscordState(s.ctx, s.a.org, []byte("one"), []byte("browser")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
	add("old", now)
	add("new", now.Add(time.Hour)) // forgets what has expired
	if _, err := s.store.TakeDiscordState(s.ctx, s.a.org, []byte("old"), []byte("browser")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("expired: %v", err)
	}
}
