package main

import (
	"fmt"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/schedule"
)

type scheduleCmd struct {
	Next scheduleNextCmd `cmd:"" help:"Print when a schedule is due next."`
}

type scheduleNextCmd struct {
	Cron     string         `placeholder:"EXPRESSION" help:"Cron expression: five fields, or a macro as @daily."`
	Timezone string         `placeholder:"ZONE" help:"IANA time zone of the expression, as Europe/Berlin. Without it: UTC."`
	Interval model.Duration `default:"0s" placeholder:"DURATION" help:"Interval, in place of a cron expression."`
	From     time.Time      `placeholder:"TIME" help:"Time (RFC 3339) after which to look. Without it: now."`
	Count    int            `short:"n" default:"5" placeholder:"N" help:"How many due moments to print."`
}

// Help is shown by schedule next --help.
func (scheduleNextCmd) Help() string {
	return `It prints one RFC 3339 time a line, in UTC: what the server would take as the due moments of a monitor.

Examples:

    tokiflow schedule next --cron '0 3 * * *' --timezone Europe/Berlin
    tokiflow schedule next --cron '30 2 * * *' --timezone Europe/Berlin --from 2026-03-28T00:00:00Z -n 3
    tokiflow schedule next --cron '0 9 * * MON#1' -n 12
    tokiflow schedule next --interval 90m`
}

// Run prints the due moments.
func (s *scheduleNextCmd) Run(e environment) error {
	spec := schedule.Spec{Cron: s.Cron, Timezone: s.Timezone, Interval: s.Interval}
	compiled, err := spec.Compile()
	if err != nil {
		return usageError{err}
	}
	at := s.From
	if at.IsZero() {
		at = time.Now()
	}
	for range s.Count {
		if at = compiled.Next(at); at.IsZero() {
			return fmt.Errorf("%s is never due again", compiled)
		}
		if _, err := fmt.Fprintln(e.stdout, at.UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return nil
}
