// Package tsdb is the time series in PostgreSQL: the writer that brings pings from the log into their table, the reader of
// pings, runs, transitions and the figures made of them, and the upkeep of what a server without TimescaleDB does not do
// by itself. The schema is infra/pg/migrations/00002 and 00003; no query here knows at which level it runs.
package tsdb
