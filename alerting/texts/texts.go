// Package texts holds the default templates of messages: what Alertmanager's own kinds of receivers say where nobody wrote a
// template. They have the names of Alertmanager's defaults, and are parsed after those and before an organisation's own.
package texts

import (
	_ "embed"
	"strings"

	"github.com/prometheus/alertmanager/template"
)

//go:embed default.tmpl
var defaults string

// All are the texts that define the templates, for config.Options.DefaultTemplates.
func All() []string { return []string{defaults} }

// Parse defines the templates in t, over Alertmanager's of the same names.
func Parse(t *template.Template) error {
	for _, text := range All() {
		if err := t.Parse(strings.NewReader(text)); err != nil {
			return err
		}
	}
	return nil
}
