package pg

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Level is how much time-series support there is. The tables and views have the same names and columns at each.
type Level int

// The levels, least first.
const (
	Plain     Level = iota // PostgreSQL alone: tables, and aggregates that tsdb.Upkeep stores
	Apache                 // TimescaleDB under the Apache licence: hypertables, and aggregates that tsdb.Upkeep stores
	Community              // TimescaleDB under its own licence: continuous aggregates, columnstore, policies
)

// String is the level's name in the log and in tokiflow doctor.
func (l Level) String() string {
	switch l {
	case Apache:
		return "timescaledb (apache): hypertables, aggregates stored by tokiflow"
	case Community:
		return "timescaledb (community): hypertables, continuous aggregates, columnstore, policies"
	case Plain:
	}
	return "plain postgresql: tables, aggregates stored by tokiflow"
}

// Features is what a database offers and what of it the schema uses.
type Features struct {
	PostgreSQL  string // version, e.g. "15.14"
	TimescaleDB string // version of the extension in this database; empty: not created
	Available   string // version that the server could create; empty: none
	Preloaded   bool   // TimescaleDB is in shared_preload_libraries
	Licence     string // "apache", "timescale" or, without the extension, empty
	Server      Level  // what the server offers now
	Schema      Level  // what the schema was built as; Plain where it is not migrated yet
	Migrated    bool   // the time-series tables exist
}

// Note says in one sentence what a person should know and could change; empty: nothing.
func (f Features) Note() string {
	switch {
	case f.Migrated && f.Server > f.Schema:
		return fmt.Sprintf("the server now offers %q, but the tables were made on %q and are not converted by themselves: "+
			"see docs/adr/0005-three-levels.md for the way there", f.Server, f.Schema)
	case f.Migrated && f.Server < f.Schema:
		return fmt.Sprintf("the tables were made on %q, but the server now offers only %q: refresh and retention policies "+
			"do not run; give the server back its TimescaleDB", f.Schema, f.Server)
	case f.Available != "" && !f.Preloaded:
		return "TimescaleDB " + f.Available + " is installed but not loaded: add it to shared_preload_libraries and restart PostgreSQL"
	}
	return ""
}

// Querier is what Detect needs: a pool, a connection or a transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Detect asks the database what it offers. It changes nothing and needs no special right.
func Detect(ctx context.Context, db Querier) (Features, error) {
	var f Features
	err := db.QueryRow(ctx, `
		select current_setting('server_version'),
		       coalesce((select extversion from pg_extension where extname = 'timescaledb'), ''),
		       coalesce((select default_version from pg_available_extensions where name = 'timescaledb'), ''),
		       current_setting('timescaledb.disable_load', true) is not null,
		       coalesce(current_setting('timescaledb.license', true), ''),
		       to_regprocedure('tokiflow_level()') is not null`,
	).Scan(&f.PostgreSQL, &f.TimescaleDB, &f.Available, &f.Preloaded, &f.Licence, &f.Migrated)
	if err != nil {
		return Features{}, fmt.Errorf("ask the database for its features: %w", err)
	}
	switch {
	case f.TimescaleDB != "" && f.Licence == "timescale":
		f.Server = Community
	case f.TimescaleDB != "", f.Available != "" && f.Preloaded:
		f.Server = Apache // at least: the licence is not known before the extension is created
	}
	if !f.Migrated {
		return f, nil
	}
	var level string
	if err := db.QueryRow(ctx, `select tokiflow_level()`).Scan(&level); err != nil {
		return Features{}, fmt.Errorf("ask the database for its level: %w", err)
	}
	switch level {
	case "apache":
		f.Schema = Apache
	case "community":
		f.Schema = Community
	}
	return f, nil
}
