package instance_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
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
	for seed := range uint64(40) {
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
