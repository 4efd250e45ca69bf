package pg_test

import (
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

func TestFeaturesNote(t *testing.T) {
	t.Parallel()
	f := func(f pg.Features, want string) {
		t.Helper()
		got := f.Note()
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
	f(pg.Features{}, "")
	f(pg.Features{Migrated: true}, "")
	f(pg.Features{Migrated: true, Server: pg.Community, Schema: pg.Community}, "")
	f(pg.Features{Migrated: true, Server: pg.Community, Schema: pg.Plain}, "not converted by themselves")
	f(pg.Features{Migrated: true, Server: pg.Apache, Schema: pg.Community}, "offers only")
	f(pg.Features{Available: "2.20.0"}, "shared_preload_libraries")
	f(pg.Features{Available: "2.20.0", Preloaded: true, Server: pg.Apache}, "")
}

func TestDetectBeforeMigration(t *testing.T) {
	t.Parallel()
	f, err := pg.Detect(t.Context(), openAt(t, pgtest.Empty(t)))
	if err != nil || f.Migrated || f.Schema != pg.Plain || f.PostgreSQL == "" {
		t.Errorf("%+v, %v", f, err)
	}
}
