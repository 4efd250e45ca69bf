package mail

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"strings"
)

//go:embed templates/*.html
var files embed.FS

// What stands in a text that a configuration's template gave where our own text goes.
const (
	ourSubject = "[[tokiflow: subject of the mail]]"
	ourHTML    = "[[tokiflow: text of the mail]]"
)

// Templates are what a configuration's default templates must have, over Alertmanager's of the same names, so that an e-mail whose
// templates nobody wrote is ours: config.Options.DefaultTemplates.
func Templates() string {
	return `{{ define "email.default.subject" }}` + ourSubject + `{{ end }}{{ define "email.default.html" }}` + ourHTML + `{{ end }}`
}

func parsed() (*template.Template, error) {
	return template.New("").Funcs(template.FuncMap{"plural": plural}).ParseFS(files, "templates/*.html")
}

// html is the view as HTML. All texts in it are escaped.
func (v view) html(t *template.Template) (string, error) {
	var b bytes.Buffer
	err := t.ExecuteTemplate(&b, "mail.html", struct {
		view
		Why string
	}{v, v.why()})
	return b.String(), err
}

// plural is "and 1 more", "and 2 more".
func plural(n int, what string) string { return fmt.Sprintf("and %d %s", n, what) }

// fill puts our texts where a template of a configuration left their place.
func fill(text, place, ours string) string { return strings.ReplaceAll(text, place, ours) }
