package store

import (
	"context"

	"github.com/tokiflow/tokiflow/core/inventory"
)

// Figures counts what its operator wants to know of an installation. It serves all organisations, and is cheap: it counts
// organisations, and in each queue what waits.
func (s *Store) Figures(ctx context.Context) (inventory.Figures, error) {
	var f inventory.Figures
	err := s.pool.QueryRow(ctx, `
		select (select count(*) from organisations),
		       (select count(*) from outbox where not fanned_out),
		       (select count(*) from control_queue)`).Scan(&f.Organisations, &f.OutboxWaiting, &f.ChangesWaiting)
	return f, wrap("figures", err)
}
