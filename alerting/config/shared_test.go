package config_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/tokiflow/tokiflow/alerting/config"
)

// TestOrganisationsShareTemplates: what one has over the templates that everybody has is its own, and all render at once.
func TestOrganisationsShareTemplates(t *testing.T) {
	t.Parallel()
	o := options()
	o.DefaultTemplates = []string{`{{ define "ours" }}ours {{ template "part" . }}{{ end }}{{ define "part" }}part{{ end }}`}
	own := func(n int) config.Source {
		s := config.Source{YAML: minimal("")}
		if n%2 == 0 {
			s.YAML += "templates: [own.tmpl]\n"
			s.Templates = map[string]string{"own.tmpl": fmt.Sprintf(
				`{{ define "part" }}<%d>{{ end }}{{ define "__subject" }}subject %d{{ end }}{{ define "email.default.subject" }}{{ template "__subject" . }}{{ end }}`, n, n)}
		}
		return s
	}
	// texts are what an organisation's templates give.
	texts := func(n int, o config.Options) (string, error) {
		c, err := config.Read(own(n), o)
		if err != nil {
			return "", err
		}
		tmpl, err := c.NewTemplate(external())
		if err != nil {
			return "", err
		}
		data, all := group(tmpl, 3), ""
		for range 2 {
			text, err := tmpl.ExecuteTextString(`{{ template "ours" . }}{{ template "email.default.subject" . }}{{ template "slack.default.title" . }}`, data)
			if err != nil {
				return "", err
			}
			html, err := tmpl.ExecuteHTMLString(`{{ template "email.default.html" . }}{{ template "ours" . }}<a title="{{ template "part" . }}">`, data)
			if err != nil {
				return "", err
			}
			all += text + html
		}
		return all, nil
	}
	shared := o.Shared()
	var wait sync.WaitGroup
	for n := range 6 {
		wait.Go(func() {
			want, err := texts(n, o)
			if err != nil {
				t.Error(err)
			}
			if got, err := texts(n, shared); err != nil || got != want {
				t.Errorf("organisation %d: %v\n got %s\nwant %s", n, err, got, want)
			}
		})
	}
	wait.Wait()
}

func TestADefaultTemplateThatIsNone(t *testing.T) {
	t.Parallel()
	o := options()
	o.DefaultTemplates = []string{`{{ if }}`}
	for range 2 { // it is said again
		o = o.Shared()
		c, err := config.Read(config.Default(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.NewTemplate(external()); err == nil {
			t.Error("it is taken")
		}
	}
}
