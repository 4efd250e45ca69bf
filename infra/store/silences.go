package store

import (
	"context"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// SaveSilences stores silences in place of those of the same ids, under a new version of the organisation's alerting.
func (s *Store) SaveSilences(ctx context.Context, org tenant.OrgID, silences []alert.StoredSilence) error {
	if len(silences) == 0 {
		return nil
	}
	return s.changeAlerting(ctx, "save silences", org, func(q *db.Queries, now db.RaiseAlertingRow) error {
		rows := make([]db.SaveSilenceParams, len(silences))
		for i, one := range silences {
			rows[i] = db.SaveSilenceParams{
				OrgID: org, ID: one.ID, Version: now.Version, EndsAt: one.EndsAt, ExpiresAt: one.ExpiresAt, Body: one.Body,
			}
		}
		return execAll(q.SaveSilence(ctx, rows).Exec)
	})
}
