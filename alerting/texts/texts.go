// Package texts holds the default templates of messages: what Alertmanager's own kinds of receivers say where nobody wrote a
// template. They have the names of Alertmanager's defaults, and are parsed after those and before an organisation's own.
package texts

import (
	"embed"
	"fmt"

	"github.com/prometheus/alertmanager/template"
)

//go:embed *.tmpl
var files embed.FS //nolint:gochecknoglobals // embedded

// Parse defines the templates in t, over Alertmanager's of the same names.
func Parse(t *template.Template) error {
	entries, err := files.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		f, err := files.Open(e.Name())
		if err != nil {
			return err
		}
		err = t.Parse(f)
		_ = f.Close() // embedded: nothing can be lost
		if err != nil {
			return fmt.Errorf("the default templates %s: %w", e.Name(), err)
		}
	}
	return nil
}
