package store_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/record"
)

func TestFigures(t *testing.T) {
	s := newBundle(t)
	expect := func(want inventory.Figures) {
		t.Helper()
		got, err := s.store.Figures(s.ctx)
		s.must(err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
	expect(inventory.Figures{Organisations: 2})
	s.create(s.a, "one")
	s.create(s.b, "two")
	s.exec(`insert into outbox (org_id, incident_id, type, payload, fanned_out) select $1, $2, 'incident.opened', '{}', n > 3 from generate_series(1, 5) n`,
		s.a.org, uuid.New())
	expect(inventory.Figures{Organisations: 2, OutboxWaiting: 3, ChangesWaiting: 2})
	_, err := s.store.DrainControls(s.ctx, nil, func(context.Context, record.Control) error { return nil })
	s.must(err)
	expect(inventory.Figures{Organisations: 2, OutboxWaiting: 3})
}
