package instance_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// chance is a world in which things happen at random.
type chance struct {
	*world
	r      *rand.Rand
	firing []alert.Routed
	opened int
}

// TestWhateverHappensEachIsToldOnceInOrder lets incidents open and end while the instance restarts, is given configurations, its
// receiver and the database go down and come back. In the end everybody was told of each exactly once that it fires, and then exactly
// once that it is resolved. (A process that is killed may repeat itself: that is told elsewhere.)
func TestWhateverHappensEachIsToldOnceInOrder(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			const each = `
route: {receiver: team, group_by: [monitor], group_wait: 1s, group_interval: 15s, repeat_interval: 1000h, routes: [
  {receiver: boss, matchers: ['monitor=~"m.*[05]"'], continue: true, group_interval: 1m}, {receiver: team, matchers: ['monitor=~"m.*"']}]}
receivers: [{name: team}, {name: boss}]
`
			story(t, each, func(w *world) {
				c := &chance{world: w, r: rand.New(rand.NewPCG(seed, 1))}
				w.start()
				for range 150 {
					c.step()
				}
				c.settle()
			})
		})
	}
}

func (c *chance) step() {
	one := c.phones[[]string{"team", "boss"}[c.r.IntN(2)]][0]
	switch n := c.r.IntN(24); {
	case n < 6:
		c.firing = append(c.firing, c.table.open(fmt.Sprintf("m%d", c.opened), time.Now()))
		c.opened++
	case n < 11 && len(c.firing) > 0:
		i := c.r.IntN(len(c.firing))
		c.table.resolve(c.firing[i], time.Now())
		c.firing = append(c.firing[:i], c.firing[i+1:]...)
	case n < 17:
		c.update()
	case n < 18:
		c.table.fail("SaveLog", false) // or it would know less than was told
		c.after(20 * time.Second)
		c.restart()
	case n < 19:
		if err := c.i.Apply(c.config); err != nil {
			c.t.Fatal(err)
		}
	case n < 20:
		one.set(func(p *phone) { p.down = errors.New("no line") })
	case n < 22:
		one.set(func(p *phone) { p.down = nil })
	case n < 23:
		c.table.fail([]string{"SaveLog", "RemoveAlerts"}[c.r.IntN(2)], c.r.IntN(2) == 0)
	}
	c.after(time.Duration(c.r.IntN(8000)) * time.Millisecond)
}

// settle has everything end, and checks what was told.
func (c *chance) settle() {
	c.table.fail("SaveLog", false)
	c.table.fail("RemoveAlerts", false)
	for _, r := range c.firing {
		c.table.resolve(r, time.Now())
	}
	for _, list := range c.phones {
		list[0].set(func(p *phone) { p.down = nil })
	}
	c.update()
	c.after(10 * time.Minute)
	c.leaves("")
	if c.i.Busy() {
		c.t.Error("it is busy with nothing")
	}
	for receiver, list := range c.phones {
		times := map[string]int{}
		for n, message := range list[0].heard {
			if message[0] == '-' && times[message[1:]] != 1 {
				c.t.Errorf("%s: message %d, %s, came before it fired", receiver, n, message)
			}
			times[message]++
		}
		for n := range c.opened {
			m := fmt.Sprintf("m%d", n)
			want := 1
			if receiver == "boss" && n%5 != 0 {
				want = 0
			}
			if times[m] != want || times["-"+m] != want {
				c.t.Errorf("%s heard %d times that %s fires, and %d times that it is resolved; want %d", receiver, times[m], m, times["-"+m], want)
			}
		}
	}
}

// mortal is the table and the line of a process that may be killed: after that nothing of it reaches anybody.
type mortal struct {
	*table
	dead *atomic.Bool
}

func (m mortal) SaveLog(ctx context.Context, org tenant.OrgID, entries []alert.LogEntry) error {
	if m.dead.Load() {
		return errDown
	}
	return m.table.SaveLog(ctx, org, entries)
}

func (m mortal) RemoveAlerts(ctx context.Context, org tenant.OrgID, told []alert.Key) error {
	if m.dead.Load() {
		return errDown
	}
	return m.table.RemoveAlerts(ctx, org, told)
}

type line struct {
	*slowPhone
	dead *atomic.Bool
}

func (l line) Notify(ctx context.Context, alerts ...*amalert.Alert) (bool, error) {
	if l.dead.Load() {
		return true, errDown
	}
	return l.slowPhone.Notify(ctx, alerts...)
}

// live starts a process, and returns how to kill it.
func (w *world) live(p *slowPhone) (kill func()) {
	w.t.Helper()
	var dead atomic.Bool
	w.o.Store = mortal{w.table, &dead}
	w.o.Build = func(*config.Config, *template.Template) (map[string][]notify.Integration, error) {
		l := line{p, &dead}
		return map[string][]notify.Integration{"team": {notify.NewIntegration(l, l, "phone", 0, "team")}}, nil
	}
	w.start()
	return func() {
		dead.Store(true)
		w.i.Stop()
	}
}

func TestNothingIsLostWhenProcessesAreKilled(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			story(t, strings.ReplaceAll(oneByOne, "4h", "1000h"), func(w *world) {
				c := &chance{world: w, r: rand.New(rand.NewPCG(seed, 2))}
				p := &slowPhone{phone: w.phones["team"][0], takes: 50 * time.Millisecond}
				kill := w.live(p)
				for range 150 {
					switch n := c.r.IntN(10); {
					case n < 4:
						c.firing = append(c.firing, w.table.open(fmt.Sprintf("m%d", c.opened), time.Now()))
						c.opened++
					case n < 7 && len(c.firing) > 0:
						i := c.r.IntN(len(c.firing))
						w.table.resolve(c.firing[i], time.Now())
						c.firing = append(c.firing[:i], c.firing[i+1:]...)
					case n < 9:
						w.update()
					default:
						kill()
						kill = w.live(p)
					}
					w.after(time.Duration(c.r.IntN(2000)) * time.Millisecond)
				}
				for _, r := range c.firing {
					w.table.resolve(r, time.Now())
				}
				w.update()
				w.after(2 * time.Minute)
				w.leaves("")
				told := w.tally()
				for n := range c.opened {
					if got := told[fmt.Sprintf("m%d", n)]; !strings.HasPrefix(got, "f") || !strings.HasSuffix(got, "r") {
						t.Errorf("m%d was told %q", n, got)
					}
				}
				if again := len(w.phones["team"][0].heard) - 2*c.opened; again > c.opened/5 {
					t.Errorf("%d of %d messages were repetitions", again, len(w.phones["team"][0].heard))
				}
			})
		})
	}
}
