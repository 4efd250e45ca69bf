package config

import (
	"log/slog"

	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/matcher/compat"
)

// UTF8 makes Alertmanager read matchers and names of labels as its own program does by default: in UTF-8, and what only the older form
// can be, in that. It is a matter of the whole process: call it once, before anything else of Alertmanager runs.
func UTF8() {
	compat.InitFromFlags(slog.New(slog.DiscardHandler), featurecontrol.NoopFlags{})
}

// Default is the configuration of an organisation that has put none.
func Default() Source {
	return Source{Templates: map[string]string{}, YAML: `# Who is told of what: the configuration of an Alertmanager, see docs/alerting-configuration.md.
# Nobody has put one yet. This one routes every alert to a receiver that tells nobody.

# Every alert takes this route, or one of the routes below it.
route:
  receiver: default
  # Alerts of one project are told together, in one message.
  group_by: [project]
  # How long a first message waits for more alerts of its group.
  group_wait: 10s
  # How long at least until the group is told again, where it has changed.
  group_interval: 15s
  # How long until it is told again, where it has not. Acknowledged alerts are not repeated.
  repeat_interval: 4h
  # routes:
  #   - matchers: [severity="critical"]
  #     receiver: on-call

receivers:
  - name: default
    # Uncomment one, or write any of Alertmanager's:
    # webhook_configs:
    #   - url: https://hooks.example.com/alerts
    # email_configs:
    #   - to: team@example.com
    # slack_app_configs:
    #   - channel: '#alerts'

# While the first fires, the second is not told.
# inhibit_rules:
#   - source_matchers: [severity="critical"]
#     target_matchers: [severity="warning"]
#     equal: [monitor]
`}
}
