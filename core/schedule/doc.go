// Package schedule knows when a run is due: fixed intervals and cron expressions in IANA time zones, right over daylight
// saving time. It is pure: no clock, no I/O but Go's time zone data.
package schedule
