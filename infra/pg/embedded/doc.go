// Package embedded runs a private PostgreSQL for the embedded default: it finds or fetches the server programs, makes the
// data directory, starts the server on a Unix socket of its own, restarts it when it dies and stops it with the process.
// Why and how: docs/adr/0004-embedded-postgres.md.
package embedded
