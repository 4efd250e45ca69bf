// Package prom holds the tests that a real Prometheus and its promtool take part in.
package prom
