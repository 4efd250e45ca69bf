package store

import (
	"context"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// PutDiscordConnection keeps a connection, in place of the one of its name.
func (s *Store) PutDiscordConnection(ctx context.Context, org tenant.OrgID, c alert.DiscordConnection) error {
	return wrap("put Discord connection", s.q.PutDiscordConnection(ctx, db.PutDiscordConnectionParams{
		OrgID: org, Name: c.Name, WebhookID: c.WebhookID, WebhookName: c.WebhookName, ChannelID: c.ChannelID, GuildID: c.GuildID,
		Sealed: c.Sealed, ConnectedAt: c.ConnectedAt,
	}))
}

// DiscordConnection returns the connection of the name.
func (s *Store) DiscordConnection(ctx context.Context, org tenant.OrgID, name string) (alert.DiscordConnection, error) {
	row, err := s.q.DiscordConnection(ctx, db.DiscordConnectionParams{OrgID: org, Name: name})
	return toDiscordConnection(row), wrap("Discord connection", err)
}

// DiscordConnections returns the organisation's connections by name.
func (s *Store) DiscordConnections(ctx context.Context, org tenant.OrgID) ([]alert.DiscordConnection, error) {
	rows, err := s.q.DiscordConnections(ctx, org)
	out := make([]alert.DiscordConnection, len(rows))
	for i, r := range rows {
		out[i] = toDiscordConnection(r)
	}
	return out, wrap("Discord connections", err)
}

// DeleteDiscordConnection removes the connection. Discord keeps its webhook until somebody removes it there.
func (s *Store) DeleteDiscordConnection(ctx context.Context, org tenant.OrgID, name string) error {
	n, err := s.q.DeleteDiscordConnection(ctx, db.DeleteDiscordConnectionParams{OrgID: org, Name: name})
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return wrap("delete Discord connection", err)
}

// AddDiscordState keeps what was begun, and forgets what has expired before the instant.
func (s *Store) AddDiscordState(ctx context.Context, org tenant.OrgID, st alert.DiscordState, now time.Time) error {
	return s.inTx(ctx, "add Discord state", func(q *db.Queries) error {
		if err := q.PruneDiscordStates(ctx, now); err != nil {
			return err
		}
		return q.AddDiscordState(ctx, db.AddDiscordStateParams{
			OrgID: org, Sum: st.Sum, Browser: st.Browser, Name: st.Name, ExpiresAt: st.ExpiresAt,
		})
	})
}

// TakeDiscordState returns what was begun and removes it. There is none where it was taken before or another browser asks.
func (s *Store) TakeDiscordState(ctx context.Context, org tenant.OrgID, sum, browser []byte) (alert.DiscordState, error) {
	row, err := s.q.TakeDiscordState(ctx, db.TakeDiscordStateParams{OrgID: org, Sum: sum, Browser: browser})
	return alert.DiscordState{Sum: sum, Browser: browser, Name: row.Name, ExpiresAt: row.ExpiresAt}, wrap("take Discord state", err)
}

func toDiscordConnection(r db.DiscordConnection) alert.DiscordConnection {
	return alert.DiscordConnection{
		Name: r.Name, WebhookID: r.WebhookID, WebhookName: r.WebhookName, ChannelID: r.ChannelID, GuildID: r.GuildID,
		Sealed: r.Sealed, ConnectedAt: r.ConnectedAt,
	}
}
