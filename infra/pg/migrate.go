package pg

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// The lock is asked for once a second: a waiting query would hold a snapshot, which some statements wait for.
const (
	lockPeriodSeconds = 1
	lockAttempts      = 600
)

// Migrate brings the schema up to date and says in the log what was done and which level of time-series support the
// database has. Several processes may call it at once: one works, the others wait up to ten minutes for it. Each
// migration is one transaction, so an error leaves the schema at the last one that succeeded.
func Migrate(ctx context.Context, pool *pgxpool.Pool, logger *slog.Logger) error {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockPeriodSeconds, lockAttempts))
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	results, err := p.Up(ctx)
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		return fmt.Errorf("migration %s: %w; the schema stays as the migration before left it", partial.Failed.Source.Path, partial.Err)
	}
	if err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	for _, r := range results {
		logger.InfoContext(ctx, "migrated", "migration", r.Source.Path, "took", r.Duration)
	}
	f, err := Detect(ctx, pool)
	if err != nil {
		return err
	}
	logger.InfoContext(ctx, "database ready", "postgresql", f.PostgreSQL, "timescaledb", f.TimescaleDB,
		"licence", f.Licence, "level", f.Schema.String())
	if note := f.Note(); note != "" {
		logger.WarnContext(ctx, note)
	}
	return nil
}

// Fingerprint is a short hash of all migrations. Two programs with the same one make the same schema.
func Fingerprint() string {
	h := sha256.New()
	_ = fs.WalkDir(migrationFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := migrationFiles.ReadFile(path)
		_, _ = fmt.Fprintf(h, "%s %d\n", path, len(b))
		h.Write(b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:6])
}
