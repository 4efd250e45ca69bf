package evaluator

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

// TestVersions: each configuration counts from the instant at which it took effect, and the deletion ends the last.
func TestVersions(t *testing.T) {
	w := &writer{}
	at := func(s int) time.Time { return epoch().Add(time.Duration(s) * time.Second) }
	control := func(t time.Time, a record.Action, version int64) {
		w.append(1, t, record.AppendControl(nil, &record.Control{Org: org(), Monitor: monitorID(1), Action: a, Version: version}))
	}
	name := func(n string) func(*monitor.Config) { return func(c *monitor.Config) { c.Name = n } }
	w.marker(1, epoch(), at(0))
	w.configure(at(1), 1, 1, name("one"))
	w.ping(1, at(5), 1, record.Success)
	w.configure(at(4), 1, 2, name("two")) // by a clock behind: not before the ping that was judged by the first
	w.configure(at(6), 1, 2, name("a repetition"))
	control(at(7), record.Pause, 3)
	control(at(8), record.Resume, 4)
	w.configure(at(9), 1, 5, name("three"))
	control(at(10), record.Delete, 6)
	control(at(11), record.Delete, 7)
	w.configure(at(12), 2, 1, name("another"))

	type version struct {
		Seconds int
		Deleted bool
		Name    string
	}
	for _, cut := range []func(int) bool{never, func(int) bool { return true }} {
		var got []version
		for _, v := range replay(t, w.log, cut).Versions {
			if v.Org != org() {
				t.Errorf("of organisation %v", v.Org)
			}
			if v.Monitor == monitorID(1) {
				got = append(got, version{int(v.At.Sub(epoch()).Seconds()), v.Deleted, v.Config.Name})
			}
		}
		want := []version{{1, false, "one"}, {5, false, "two"}, {9, false, "three"}, {10, true, "three"}}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	}
}
