package store

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// PutSlackWorkspace makes the workspace the organisation's, in place of whichever it had.
func (s *Store) PutSlackWorkspace(ctx context.Context, org tenant.OrgID, w alert.Workspace) error {
	return s.inTx(ctx, "put Slack workspace", func(q *db.Queries) error {
		if err := q.ForgetSlackChannels(ctx, org); err != nil {
			return err
		}
		return q.PutSlackWorkspace(ctx, db.PutSlackWorkspaceParams{
			OrgID: org, TeamID: w.TeamID, TeamName: w.TeamName, AppID: w.AppID, BotUserID: w.BotUserID, Scopes: texts(w.Scopes),
			Channel: w.Channel, ChannelID: w.ChannelID, Sealed: w.Sealed, InstalledBy: w.InstalledBy, InstalledAt: w.InstalledAt,
		})
	})
}

// SlackWorkspace returns the organisation's workspace.
func (s *Store) SlackWorkspace(ctx context.Context, org tenant.OrgID) (alert.Workspace, error) {
	row, err := s.q.SlackWorkspace(ctx, org)
	return toWorkspace(row), wrap("Slack workspace", err)
}

// DeleteSlackWorkspace removes the organisation's workspace with its token, and returns what it was.
func (s *Store) DeleteSlackWorkspace(ctx context.Context, org tenant.OrgID) (alert.Workspace, error) {
	row, err := s.q.DeleteSlackWorkspace(ctx, org)
	return toWorkspace(row), wrap("delete Slack workspace", err)
}

// SlackTeam returns the workspace once for each organisation, of whomever, that it serves.
func (s *Store) SlackTeam(ctx context.Context, team string) ([]alert.Workspace, error) {
	rows, err := s.q.SlackTeam(ctx, team)
	if err != nil {
		return nil, wrap("Slack team", err)
	}
	out := make([]alert.Workspace, len(rows))
	for i, r := range rows {
		out[i] = toWorkspace(r)
	}
	return out, nil
}

// RevokeSlackWorkspace notes that Slack refuses the token that was installed at the instant; first says whether nobody had.
func (s *Store) RevokeSlackWorkspace(ctx context.Context, org tenant.OrgID, installedAt time.Time, reason string) (first bool, err error) {
	n, err := s.q.RevokeSlackWorkspace(ctx, db.RevokeSlackWorkspaceParams{OrgID: org, InstalledAt: installedAt, Reason: reason})
	return n > 0, wrap("revoke Slack workspace", err)
}

// RevokeSlackTeam does the same for all organisations that the workspace served at the instant, and returns how many those were.
func (s *Store) RevokeSlackTeam(ctx context.Context, team string, before time.Time, reason string) (int, error) {
	n, err := s.q.RevokeSlackTeam(ctx, db.RevokeSlackTeamParams{TeamID: team, Before: before, Reason: reason})
	return int(n), wrap("revoke Slack team", err)
}

// UseSlackChannel notes that the organisation posts to the channel.
func (s *Store) UseSlackChannel(ctx context.Context, org tenant.OrgID, channel string) error {
	return wrap("use Slack channel", s.q.UseSlackChannel(ctx, db.UseSlackChannelParams{OrgID: org, ChannelID: channel}))
}

// SlackChannelUsed reports whether the organisation posted to the channel since it installed its workspace.
func (s *Store) SlackChannelUsed(ctx context.Context, org tenant.OrgID, channel string) (bool, error) {
	used, err := s.q.SlackChannelUsed(ctx, db.SlackChannelUsedParams{OrgID: org, ChannelID: channel})
	return used, wrap("Slack channel", err)
}

// PutSlackState begins an installation. What has expired goes.
func (s *Store) PutSlackState(ctx context.Context, org tenant.OrgID, nonce uuid.UUID, expires time.Time) error {
	return s.inTx(ctx, "put Slack state", func(q *db.Queries) error {
		if err := q.PruneSlackStates(ctx); err != nil {
			return err
		}
		return q.PutSlackState(ctx, db.PutSlackStateParams{OrgID: org, Nonce: nonce, ExpiresAt: expires})
	})
}

// TakeSlackState ends an installation that was begun; ok is false where it was not, has expired or was ended before.
func (s *Store) TakeSlackState(ctx context.Context, org tenant.OrgID, nonce uuid.UUID) (ok bool, err error) {
	n, err := s.q.TakeSlackState(ctx, db.TakeSlackStateParams{OrgID: org, Nonce: nonce})
	return n > 0, wrap("take Slack state", err)
}

// SeeSlackRequest notes a signed request until it expires; first is false where it, or another process, has seen it before.
func (s *Store) SeeSlackRequest(ctx context.Context, sum [sha256.Size]byte, expires time.Time) (first bool, err error) {
	n, err := s.q.SeeSlackRequest(ctx, db.SeeSlackRequestParams{Sum: sum[:], ExpiresAt: expires})
	if err != nil {
		return false, wrap("see Slack request", err)
	}
	return n > 0, wrap("see Slack request", s.q.PruneSlackRequests(ctx))
}

func toWorkspace(r db.SlackWorkspace) alert.Workspace {
	return alert.Workspace{
		Org: r.OrgID, TeamID: r.TeamID, TeamName: r.TeamName, AppID: r.AppID, BotUserID: r.BotUserID, Scopes: r.Scopes,
		Channel: r.Channel, ChannelID: r.ChannelID, Sealed: r.Sealed, InstalledBy: r.InstalledBy,
		InstalledAt: r.InstalledAt.UTC(), RevokedAt: orZero(r.RevokedAt).UTC(), RevokedReason: r.RevokedReason,
	}
}
