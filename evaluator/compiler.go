package evaluator

import (
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/schedule"
)

// compiler makes rules of configurations. Monitors share what schedules know of their zones.
type compiler struct {
	schedules schedule.Compiler
}

func (c *compiler) rules(config monitor.Config) (*monitor.Rules, error) {
	s, err := c.schedules.Compile(config.Schedule)
	if err != nil {
		return nil, err
	}
	return monitor.NewRules(config, s), nil
}
