package tsdb_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/infra/pg/embedded"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb"
)

// The way from plain PostgreSQL that docs/adr/0005 describes: the rows are dumped from one database and restored into
// another that was migrated on the other level.
func TestDataMoveBetweenLevels(t *testing.T) {
	t.Parallel()
	bin, err := embedded.FindBinaries(t.Context(), os.Getenv("TOKIFLOW_TEST_POSTGRES_BIN"))
	if err != nil {
		t.Skipf("SKIPPED, NOT RUN: needs pg_dump and psql: %v", err)
	}
	for _, way := range [][2]string{{"plain", "community"}, {"plain", "apache"}, {"plain", "plain"}} {
		t.Run(way[0]+" to "+way[1], func(t *testing.T) {
			t.Parallel()
			from, to := pgtest.On(t, way[0]), pgtest.On(t, way[1])
			m := newModel(rand.New(rand.NewPCG(11, 12)), 4, 12)
			m.save(t, from, everything)
			rollUp(ctxFor(t), t, from, m.begin.Add(6*day))

			dump := exec.Command("/bin/sh", "-c", `"$1"/pg_dump --data-only --schema=public --exclude-table='*_stored' `+
				`--exclude-table=tokiflow_rollups --exclude-table='goose_db_version*' "$2" | "$1"/psql --quiet --set ON_ERROR_STOP=1 "$3"`,
				"sh", bin.Dir, from.Config().ConnString(), to.Config().ConnString())
			if _, err := os.Stat(filepath.Join(bin.Dir, "pg_dump")); err != nil {
				t.Skipf("SKIPPED, NOT RUN: %v", err)
			}
			if out, err := dump.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for range 2 {
				checkWindow(t, tsdb.NewReader(to), m, history.Window{From: m.begin, To: m.end})
				rollUp(ctxFor(t), t, to, m.begin.Add(9*day))
			}
		})
	}
}
