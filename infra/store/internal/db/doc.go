// Package db is infra/store/sql as Go, made by sqlc. Only infra/store uses it.
package db
