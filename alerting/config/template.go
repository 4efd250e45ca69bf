package config

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	texttemplate "text/template"
	"time"

	"github.com/prometheus/alertmanager/template"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"

	"github.com/tokiflow/tokiflow/core/guarded"
)

// Bounds of one execution of a template: of one text of one notification. A group of thousands of alerts in Alertmanager's own e-mail
// keeps within them.
const (
	maxSteps         = 500_000
	maxTemplateDepth = 200
	maxOutput        = 16 << 20 // bytes
	maxMade          = 64 << 20
	maxMatching      = 64 << 20
	maxTime          = 10 * time.Second // of the wall clock: a bound for what nobody thought of
)

// Bounds of all executions of one organisation's templates in a window: a message may have thousands of texts.
const (
	window       = 10 * time.Second
	windowSteps  = 10 * maxSteps
	windowOutput = 8 * maxOutput
)

var (
	errSlow = fmt.Errorf("it takes longer than %s", maxTime)
	errBusy = fmt.Errorf("all templates together have taken more than %d steps or given more than %d bytes within %s", windowSteps, windowOutput, window)
)

// meter counts what all executions have used. Safe for concurrent use.
type meter struct {
	now func() time.Time

	mu            sync.Mutex
	began         time.Time // of the window
	steps, output int
}

// begin is guarded's.
func (m *meter) begin() guarded.Check {
	began := m.now()
	return func(steps, output int) error {
		now := m.now()
		if now.Sub(began) > maxTime {
			return errSlow
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if now.Sub(m.began) > window {
			m.began, m.steps, m.output = now, 0, 0
		}
		m.steps, m.output = m.steps+steps, m.output+output
		if m.steps > windowSteps || m.output > windowOutput {
			return errBusy
		}
		return nil
	}
}

// newGuard makes what rewrites templates. Its functions are Alertmanager's, bounded; those that cannot grow are left to it.
func newGuard() *guarded.Guard {
	limits := guarded.Limits{
		Steps: maxSteps, Depth: maxTemplateDepth, Output: maxOutput, Value: maxOutput, Made: maxMade, Matching: maxMatching,
	}
	return guarded.New(limits, texttemplate.FuncMap{
		"toUpper": guarded.Text(strings.ToUpper),
		"toLower": guarded.Text(strings.ToLower),
		"title":   guarded.Text(func(s string) string { return cases.Title(language.AmericanEnglish).String(s) }),
		"join":    guarded.Join, "match": guarded.Match, "reReplaceAll": guarded.ReplaceAll,
		"list": guarded.List, "append": guarded.Append, "dict": guarded.Dict,
		"stringSlice": func(f *guarded.Frame, s ...string) ([]string, error) {
			_, err := guarded.List(f, make([]any, len(s))...)
			return s, err
		},
		"base64encode": guarded.Text(func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }),
		"base64decode": guarded.Value(func(v any) (string, error) {
			b, err := base64.URLEncoding.DecodeString(fmt.Sprint(v))
			return string(b), err
		}),
		"urlUnescape": guarded.Value(func(v any) (string, error) { return url.QueryUnescape(fmt.Sprint(v)) }),
		"toJson": guarded.Value(func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		}),
		"date": func(f *guarded.Frame, layout string, t time.Time) (string, error) {
			return guarded.Text(t.Format)(f, layout)
		},
	})
}

// NewTemplate makes what renders the configuration's texts: Alertmanager's own templates, ours and the organisation's, the later over
// the earlier. externalURL is that of the organisation's Alertmanager. Texts that are not of this configuration may be rendered too.
// Each has bounds of its own for what its texts take together: one is not shared by organisations.
func (c *Config) NewTemplate(externalURL *url.URL) (*template.Template, error) {
	d, now := c.defaults, c.now
	if d == nil { // it was not made by Load
		d, now = newDefaults(nil), time.Now
	}
	t, err := d.template(d.guard.Functions((&meter{now: now}).begin))
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Templates)) {
		if err := t.Parse(strings.NewReader(c.Templates[name])); err != nil {
			return nil, fmt.Errorf("the template %q: %w", name, plainTemplateError(err))
		}
	}
	t.ExternalURL = externalURL
	return t, nil
}

// plainTemplateError takes out of an error's text what nobody wrote: the guards, and places in what was rewritten.
func plainTemplateError(err error) error {
	text := err.Error()
	for _, r := range [][2]string{
		{`template: :\d+(?::\d+)?: `, ""},
		{`executing "" `, ""},
		{`\$__d\.`, "."},
		{` ?at <[^<>]*__[^<>]*>: `, ": "},
		{`: error calling __(?:frame|data|pass|step|out|made|short): `, ": "},
		{`^: `, ""},
		{`calling __`, "calling "},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	return errors.New(text)
}
