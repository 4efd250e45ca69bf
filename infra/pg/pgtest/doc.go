//go:build unix

// Package pgtest gives each test a database of its own on a real PostgreSQL.
//
// The server is that of TOKIFLOW_TEST_DATABASE_URL (a role that may create databases) where it is set. Otherwise each test
// process starts a private cluster at its first use, from TOKIFLOW_TEST_POSTGRES_BIN or the programs found on the
// machine, as an unprivileged user if the process is root, in a time zone that is nobody's, without fsync; it is removed
// with the process, even when that is killed. The schema is migrated once into a template and cloned for each test.
//
// TimescaleDB's levels run on the programs in TOKIFLOW_TEST_TIMESCALE_BIN, or on those found if they have it.
package pgtest
