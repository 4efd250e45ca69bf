package evaluator

import (
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// compiler makes rules of configurations. Monitors with the same schedule share its compiled form, with its zone's table.
type compiler struct {
	schedules map[schedule.Spec]schedule.Schedule
}

func newCompiler() compiler { return compiler{schedules: map[schedule.Spec]schedule.Schedule{}} }

func (c compiler) rules(config monitor.Config) (*monitor.Rules, error) {
	s, ok := c.schedules[config.Schedule]
	if !ok {
		var err error
		if s, err = config.Schedule.Compile(); err != nil {
			return nil, err
		}
		c.schedules[config.Schedule] = s
	}
	return monitor.NewRules(config, s), nil
}
