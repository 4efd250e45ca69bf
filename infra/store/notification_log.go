package store

import (
	"context"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// SaveLog writes down what receivers were told last. Of two entries of one group and receiver the later counts, in whatever order
// they come. All are taken or none; a fault of code invalid says that one of them can never be.
func (s *Store) SaveLog(ctx context.Context, org tenant.OrgID, entries []alert.LogEntry) error {
	if len(entries) == 0 {
		return nil
	}
	rows := make([]db.SaveLogEntryParams, len(entries))
	for i, e := range entries {
		rows[i] = db.SaveLogEntryParams{
			OrgID: org, GroupKey: e.GroupKey, Receiver: e.Receiver, LoggedAt: e.LoggedAt, ExpiresAt: e.ExpiresAt, Body: e.Body,
		}
	}
	return wrapRefused("save the notification log", execAll(s.q.SaveLogEntry(ctx, rows).Exec))
}
