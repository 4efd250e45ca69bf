package instance_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/alerting/instance"
	"github.com/tokiflow/tokiflow/alerting/quiet"
	"github.com/tokiflow/tokiflow/core/alert"
	corequiet "github.com/tokiflow/tokiflow/core/quiet"
)

const oneByOne = `
route: {receiver: team, group_by: [monitor], group_wait: 1s, group_interval: 15s, repeat_interval: 4h}
receivers: [{name: team}]
`

func storms(p instance.Pipeline) instance.Teller {
	return quiet.NewStorms(quiet.StormOptions{Rules: corequiet.StormRules{Limit: 5}},
		quiet.Pipeline{Next: p.Next, Whole: p.Whole, Log: p.Log, Integrations: p.Integrations})
}

// tally counts in what order each monitor was told to fire (f) and to be resolved (r), repetitions as one.
func (w *world) tally() map[string]string {
	p := w.phones["team"][0]
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]string{}
	for _, message := range p.heard {
		for name := range strings.FieldsSeq(message) {
			state, monitor := "f", name
			if strings.HasPrefix(name, "-") {
				state, monitor = "r", name[1:]
			}
			if !strings.HasSuffix(out[monitor], state) {
				out[monitor] += state
			}
		}
	}
	return out
}

func TestAStormIsToldInFewMessagesAndNothingOfItIsLost(t *testing.T) {
	story(t, oneByOne, func(w *world) {
		w.o.Teller = storms
		w.start()
		var all []alert.Routed
		for n := range 300 {
			all = append(all, w.table.open(fmt.Sprintf("m%d", n), time.Now()))
			if n%30 == 0 {
				w.update()
				w.after(time.Second)
			}
		}
		w.update()
		w.after(30 * time.Second)
		p := w.phones["team"][0]
		if n := len(p.heard); n > 10 {
			t.Errorf("%d messages", n)
		}
		w.restart()
		w.after(time.Minute)
		p.set(func(p *phone) { p.down = errors.New("no line") })
		for n, r := range all {
			if n%2 == 0 {
				w.table.resolve(r, time.Now())
			}
		}
		w.update()
		w.after(time.Minute)
		w.restart()
		p.set(func(p *phone) { p.down = nil })
		w.after(2 * time.Minute)
		for n, r := range all {
			if n%2 == 1 {
				w.table.resolve(r, time.Now())
			}
		}
		w.update()
		w.after(2 * time.Minute)
		told := w.tally()
		for n := range 300 {
			if got := told[fmt.Sprintf("m%d", n)]; got != "fr" {
				t.Errorf("m%d was told %q", n, got)
			}
		}
		if len(p.heard) > 30 {
			t.Errorf("%d messages: %d alerts in the longest", len(p.heard), len(strings.Fields(slices.MaxFunc(p.heard, func(a, b string) int { return len(a) - len(b) }))))
		}
		w.leaves("")
	})
}

func TestAStormThatWasOverBeforeItWasToldIsTold(t *testing.T) {
	story(t, oneByOne, func(w *world) {
		w.o.Teller = storms
		for n := range 100 {
			r := w.table.open(fmt.Sprintf("m%d", n), time.Now())
			w.table.resolve(r, time.Now().Add(time.Second))
		}
		time.Sleep(time.Hour)
		w.start()
		w.after(3 * time.Minute)
		told := w.tally()
		for n := range 100 {
			if got := told[fmt.Sprintf("m%d", n)]; got != "fr" {
				t.Errorf("m%d was told %q", n, got)
			}
		}
		w.leaves("")
	})
}
