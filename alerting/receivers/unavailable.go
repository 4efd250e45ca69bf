package receivers

import (
	"errors"

	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// Unavailable is the Factory of a kind that this installation cannot send by: whoever configures it is told why.
func Unavailable(reason string) Factory {
	return func(config.Entry, *template.Template) (notify.Notifier, error) { return nil, errors.New(reason) }
}
