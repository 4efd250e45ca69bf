package admit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func org(n byte) tenant.OrgID { return tenant.OrgID{UUID: uuid.UUID{15: n}} }

func noon() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

func labels(pairs ...string) []series.Label {
	var l []series.Label
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, series.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return l
}

func TestLabels(t *testing.T) {
	rules := Rules{MaxLabels: 3, MaxNameBytes: 10, MaxValueBytes: 10}.WithDefaults()
	for _, c := range []struct{ in, want []series.Label }{
		{labels("__name__", "up"), labels("__name__", "up")},
		{labels("b", "1", "__name__", "up", "a", "2"), labels("__name__", "up", "a", "2", "b", "1")},
		{labels("__name__", "up", "a", "", "b", "", "c", "", "d", "1"), labels("__name__", "up", "d", "1")},
		{labels("__name__", "up", "a", "", "a", "1"), labels("__name__", "up", "a", "1")},
		{labels("__name__", "up", "__unit__", "s"), labels("__name__", "up", "__unit__", "s")},
		{labels("__name__", strings.Repeat("x", 10), strings.Repeat("y", 10), "1"), labels("__name__", strings.Repeat("x", 10), strings.Repeat("y", 10), "1")},
	} {
		before := fmt.Sprint(c.in)
		got, err := rules.Labels(c.in)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", before, err, diff)
		}
	}
	for _, in := range [][]series.Label{
		nil, labels("a", "1"), labels("__name__", ""), labels("__name__", "up", "a", "1", "a", "1"), labels("a", "1", "__name__", "up", "a", "2"),
		labels("__name__", "up", "", "1"), labels("__name__", "up", "", ""), labels("__name__", "up", "__a", "1"),
		labels("__name__", "up", "a", "1", "b", "1", "c", "1"), labels("__name__", "up", strings.Repeat("y", 11), "1"),
		labels("__name__", strings.Repeat("x", 11)), labels("__name__", "\xff"), labels("__name__", "a\x00"), labels("__name__", "up", "\xc0", "1"),
	} {
		before := fmt.Sprint(in)
		_, err := rules.Labels(in)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != BadLabels || !strings.HasPrefix(e.Text, "series ") || !utf8.ValidString(e.Text) {
			t.Errorf("%s: %v", before, err)
		}
	}
}

func TestTime(t *testing.T) {
	rules := Rules{}.WithDefaults()
	now := noon().UnixMilli()
	for at, good := range map[int64]bool{now - 399*24*3600e3: true, 0: false, -1: false, now: true, now + 3600e3: true, now + 3600e3 + 1: false, 1 << 62: false, -1 << 63: false} {
		if text := rules.Time(at, noon()); (text == "") != good {
			t.Errorf("%d: %q", at, text)
		}
	}
}

// TestName: an error that names a series can be read, whatever was sent.
func TestName(t *testing.T) {
	for _, c := range []struct {
		l    []series.Label
		want string
	}{
		{nil, "{}"},
		{labels("b", "1", "__name__", "up"), `up{b="1"}`},
		{labels("__name__", strings.Repeat("x", 100)), strings.Repeat("x", 64) + "…{}"},
		{labels("a", "\xff\n"), `{a="` + "\uFFFD" + `\n"}`},
	} {
		if got := Name(c.l); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	many := labels("__name__", "up")
	for i := range 1000 {
		many = append(many, series.Label{Name: fmt.Sprint("label", i), Value: strings.Repeat("x", 1000)})
	}
	if got := Name(many); len(got) > 500 || !strings.HasSuffix(got, ", …}") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestMetadata(t *testing.T) {
	rules := Rules{MaxNameBytes: 4, MaxValueBytes: 8}.WithDefaults()
	for _, c := range []struct{ in, want series.Metadata }{
		{series.Metadata{Name: "a", Help: "short", Unit: "s"}, series.Metadata{Name: "a", Help: "short", Unit: "s"}},
		{series.Metadata{Name: "a", Help: "much too long", Unit: "seconds"}, series.Metadata{Name: "a", Help: "much too", Unit: "seco"}},
		{series.Metadata{Name: "a", Help: "1234567ü"}, series.Metadata{Name: "a", Help: "1234567"}},
		{series.Metadata{Name: "a", Help: "a\x00b\xffc"}, series.Metadata{Name: "a", Help: "ab\uFFFDc"}},
	} {
		if got := c.in; !rules.Metadata(&got) || got != c.want {
			t.Errorf("%+v became %+v", c.in, got)
		}
	}
	for _, name := range []string{"", "\xff", "a\x00", "123456789"} {
		if rules.Metadata(&series.Metadata{Name: name}) {
			t.Errorf("%q", name)
		}
	}
}

// TestTake: the bucket fills at the rate; what is bigger than the bucket passes when it is full, and is paid off.
func TestTake(t *testing.T) {
	now := noon()
	l := NewLimiter(Limits{SamplesPerSecond: 100, SamplesBurst: 200}, func() time.Time { return now })
	for i, step := range []struct {
		after time.Duration
		n     int
		wait  time.Duration
	}{
		{0, 150, 0},
		{0, 50, 0},
		{0, 1, 10 * time.Millisecond},
		{0, 100, time.Second},
		{time.Second, 100, 0},
		{0, 1, 10 * time.Millisecond},
		{time.Minute, 1000, 0},
		{0, 1, 8*time.Second + 10*time.Millisecond},
		{9 * time.Second, 100, 0},
		{0, 0, 0},
	} {
		now = now.Add(step.after)
		if got := l.Take(org(1), step.n); got != step.wait {
			t.Errorf("step %d: %v, want %v", i, got, step.wait)
		}
	}
	if got := l.Take(org(2), 200); got != 0 {
		t.Errorf("another organisation waits %v", got)
	}
	if got := NewLimiter(Limits{}, nil).Take(org(1), 1<<40); got != 0 {
		t.Errorf("without a limit: %v", got)
	}
}

func TestActive(t *testing.T) {
	now := noon()
	l := NewLimiter(Limits{ActiveSeries: 3}, func() time.Time { return now })
	send := func(o tenant.OrgID, names ...string) (refused string) {
		var s []series.Series
		for _, n := range names {
			s = append(s, series.Series{Labels: labels("__name__", n)})
		}
		l.Active(o, s, func(i int) { refused += names[i] })
		return refused
	}
	for i, step := range []struct {
		after time.Duration
		names string
		want  string
	}{
		{0, "ab", ""},
		{0, "abcde", "de"},
		{30 * time.Minute, "ca", ""},
		{0, "e", "e"},
		{30*time.Minute + time.Second, "e", ""}, // b is an hour old
		{0, "bd", "bd"},
		{2 * time.Hour, "bde", ""},
	} {
		now = now.Add(step.after)
		if got := send(org(1), strings.Split(step.names, "")...); got != step.want {
			t.Errorf("step %d: %q is refused, want %q", i, got, step.want)
		}
	}
	if got := send(org(2), "x", "y", "z"); got != "" || l.ActiveSeries() != 6 {
		t.Errorf("another organisation: %q; %d in all", got, l.ActiveSeries())
	}
	if e := l.Over(labels("__name__", "up")); e.Reason != OverSeries || e.Text != "series up{}: the organisation has its 3 active series; one without a sample for an hour makes room: look for a label with ever new values" {
		t.Error(e)
	}
}

func TestLimiterIsSafe(t *testing.T) {
	l := NewLimiter(Limits{SamplesPerSecond: 1e6, ActiveSeries: 100}, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for n := range 4 {
		wg.Go(func() {
			for i := range 200 {
				l.Take(org(byte(n%2)), 1)
				l.Active(org(byte(n%2)), []series.Series{{Labels: labels("__name__", fmt.Sprint(n, i))}}, func(int) {
					mu.Lock()
					refused++
					mu.Unlock()
				})
				l.ActiveSeries()
			}
		})
	}
	wg.Wait()
	if refused != 600 || l.ActiveSeries() != 200 {
		t.Errorf("%d refused, %d active", refused, l.ActiveSeries())
	}
}

func FuzzLabels(f *testing.F) {
	f.Add("__name__", "up", "a", "1", "b", "")
	f.Fuzz(func(t *testing.T, a, b, c, d, e, g string) {
		rules := Rules{}.WithDefaults()
		got, err := rules.Labels(labels(a, b, c, d, e, g))
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("%q", err)
			}
			return
		}
		again, err := rules.Labels(append([]series.Label(nil), got...))
		if diff := cmp.Diff(got, again); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}
