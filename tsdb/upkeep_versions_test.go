package tsdb_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// TestUpkeepRemovesOldVersions: what was in force at any time of which something may be kept stays.
func TestUpkeepRemovesOldVersions(t *testing.T) {
	t.Parallel()
	now := at("2026-03-01 12:00:00")
	keep := tsdb.Retention{History: 100 * day}
	type version struct {
		monitor byte
		age     int // in days
		deleted bool
	}
	all := []version{
		{1, 400, false}, {1, 300, false}, {1, 200, false}, {1, 50, false}, // that of 200 days ago was in force 190 days ago
		{2, 400, false}, {2, 191, true}, // gone
		{3, 400, false}, {3, 189, true}, // there may be a row of it yet
		{4, 4000, false}, // lives
	}
	pgtest.Each(t, func(t *testing.T, pool *pgxpool.Pool) {
		for _, v := range all {
			_, err := pool.Exec(ctxFor(t), `insert into monitor_versions (org_id, monitor_id, at, deleted, project, config) values ($1, $2, $3, $4, '', '{}')`,
				org(1).UUID, id(v.monitor), now.Add(-time.Duration(v.age)*day), v.deleted)
			if err != nil {
				t.Fatal(err)
			}
		}
		left := func(r tsdb.Retention) []version {
			t.Helper()
			u, err := tsdb.NewUpkeep(pool, r, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := u.Once(ctxFor(t), now); err != nil {
				t.Fatal(err)
			}
			rows, err := pool.Query(ctxFor(t), `select get_byte(uuid_send(monitor_id), 15), extract(epoch from $1 - at)::int / 86400, deleted
				from monitor_versions order by monitor_id, at`, now)
			if err != nil {
				t.Fatal(err)
			}
			got, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (v version, err error) {
				err = r.Scan(&v.monitor, &v.age, &v.deleted)
				return v, err
			})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if d := cmp.Diff(all, left(tsdb.Retention{}), cmp.AllowUnexported(version{})); d != "" {
			t.Errorf("kept for ever (-want +got)\n%s", d)
		}
		want := []version{all[2], all[3], all[6], all[7], all[8]}
		if d := cmp.Diff(want, left(keep), cmp.AllowUnexported(version{})); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}
