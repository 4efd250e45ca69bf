package pg

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Pool is a pool of connections, as those call it who must not know whose it is.
type Pool = pgxpool.Pool

// Options tune a pool. The zero value is fit for use.
type Options struct {
	// MaxConns is the greatest number of connections; 0: DefaultMaxConns, or what the URL's pool_max_conns says.
	MaxConns int32
	// ApplicationName is what pg_stat_activity shows; empty: "tokiflow".
	ApplicationName string
}

// DefaultMaxConns is the pool's size where nothing else is said: the consumers, the relay and a handful of requests.
const DefaultMaxConns = 16

const connectTimeout = 5 * time.Second

// Open prepares a pool for the database at url, which is a postgres:// URL or a list of key=value words. It does not
// connect: a database that is down now may be there later, so only a malformed url or a senseless option is an error.
//
// Times come back in UTC, sessions run in UTC, and the extended protocol is used throughout: the simple one would
// destroy Prometheus' stale NaN.
func Open(ctx context.Context, url string, o Options) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	if o.MaxConns < 0 {
		return nil, fmt.Errorf("database pool: %d connections: must be 0 (default) or more", o.MaxConns)
	}
	switch {
	case o.MaxConns > 0:
		c.MaxConns = o.MaxConns
	case !strings.Contains(url, "pool_max_conns"):
		c.MaxConns = DefaultMaxConns
	}
	c.ConnConfig.RuntimeParams["timezone"] = "UTC"
	// A process stopped within a transaction must not hold its locks for ever.
	c.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "60s"
	if o.ApplicationName != "" {
		c.ConnConfig.RuntimeParams["application_name"] = o.ApplicationName
	} else if c.ConnConfig.RuntimeParams["application_name"] == "" {
		c.ConnConfig.RuntimeParams["application_name"] = "tokiflow"
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = connectTimeout
	}
	c.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		registerUTC(conn.TypeMap())
		return nil
	}
	return pgxpool.NewWithConfig(ctx, c)
}

// registerUTC makes timestamptz, alone and in arrays, scan as UTC instead of the machine's zone.
func registerUTC(m *pgtype.Map) {
	t := &pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID,
		Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	}
	m.RegisterType(t)
	m.RegisterType(&pgtype.Type{
		Name: "_timestamptz", OID: pgtype.TimestamptzArrayOID,
		Codec: &pgtype.ArrayCodec{ElementType: t},
	})
}
