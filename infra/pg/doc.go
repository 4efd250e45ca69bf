// Package pg opens the PostgreSQL pool, brings the schema up to date, says which of the three levels of time-series
// support the database has (docs/adr/0005), and keeps the offsets of the log's consumers.
//
// Its sub-packages run a private server (embedded) and give tests a database each (pgtest).
package pg
