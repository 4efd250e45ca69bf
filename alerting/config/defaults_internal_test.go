package config

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSharedTreesStayAsTheyAre: whoever renders from them, as text or as HTML, and whatever an organisation puts over them.
func TestSharedTreesStayAsTheyAre(t *testing.T) {
	t.Parallel()
	d := newDefaults([]string{`{{ define "ours" }}{{ .Status }} {{ template "__subject" . }}{{ end }}`})
	written := func() map[string]string {
		trees, err := d.trees()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for name, tree := range trees {
			out[name] = tree.Root.String()
		}
		return out
	}
	before := written()
	data := sampleData(time.Unix(1_700_000_000, 0))[0].data
	render := func(own string) error {
		tmpl, err := d.template(d.guard.Functions((&meter{now: time.Now}).begin))
		if err != nil {
			return err
		}
		if err := tmpl.Parse(strings.NewReader(own)); err != nil {
			return err
		}
		for _, name := range []string{"email.default.html", "__subject", "slack.default.fallback", "opsgenie.default.message", "ours"} {
			call := `{{ template "` + name + `" . }}`
			_, err := tmpl.ExecuteTextString(call, data)
			if name != "email.default.html" { // in other places of HTML it is escaped in other ways
				call = `<a href="` + call + `" onclick="f(` + call + `)">` + call + `</a>`
			}
			_, htmlErr := tmpl.ExecuteHTMLString(call, data)
			if err := errors.Join(err, htmlErr); err != nil {
				return err
			}
		}
		return nil
	}
	var wait sync.WaitGroup
	for i := range 4 {
		wait.Go(func() {
			own := `{{ define "__alertmanager" }}theirs{{ end }}`
			if i%2 == 0 {
				own = `{{ define "mine" }}{{ end }}`
			}
			if err := render(own); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if diff := cmp.Diff(before, written()); diff != "" {
		t.Error(diff)
	}
}

// TestEachTemplateHasItsOwnBounds: an organisation whose texts take too much takes nothing from another.
func TestEachTemplateHasItsOwnBounds(t *testing.T) {
	t.Parallel()
	d := newDefaults(nil)
	now := time.Unix(1_700_000_000, 0)
	clock := func() time.Time { return now }
	busy, calm := &meter{now: clock, began: now, steps: windowSteps}, &meter{now: clock}
	data := sampleData(now)[0].data
	for m, wrong := range map[*meter]bool{busy: true, calm: false} {
		tmpl, err := d.template(d.guard.Functions(m.begin))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tmpl.ExecuteTextString(`{{ template "discord.default.title" . }}`, data); (err != nil) != wrong {
			t.Errorf("busy %t: %v", wrong, err)
		}
	}
}
