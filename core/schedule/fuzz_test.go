package schedule

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
)

// FuzzParseCron: nothing panics; an error names a place in the expression; what parses prints and parses again to the same; Next goes forward
// only, and from a later moment never to an earlier one.
func FuzzParseCron(f *testing.F) {
	for _, text := range []string{
		"* * * * *", "0 3 * * *", "*/15 2 L jan-mar,12 5L,1#2,sun", "5/20 22-23/1 1,15,L * MON", "@daily", "@every 5m", "0 0 30 2 *",
		"0 0 29 2 */7", "22-2 * * * *", "0 0 ? * *", "H H * * *", "TZ=UTC 0 0 * * *", "99999999999 0 * * *", "* * ä * *", "", " \t ", "0 0 * * 7#5,7L",
	} {
		f.Add(text, uint8(len(text)), int64(1774746000), int64(3600))
	}
	zones := trickyZones()
	var compiler Compiler
	f.Fuzz(func(t *testing.T, text string, zone uint8, unix, later int64) {
		s, err := compiler.Compile(Spec{Cron: text, Timezone: zones[int(zone)%len(zones)]})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Position < 0 || e.Position > len(text)+1 || e.Field == "timezone" {
				t.Fatalf("%q: error %#v", text, err)
			}
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 300 {
				t.Fatalf("%q: error %q", text, err)
			}
			return
		}
		printed := s.String()
		cut := strings.LastIndexByte(printed, ' ')
		again, err := Spec{Cron: printed[:cut], Timezone: printed[cut+1:]}.Compile()
		if err != nil || again.String() != printed || again.cron.expression != s.cron.expression {
			t.Fatalf("%q printed as %q, which parses to %v, %v", text, printed, again, err)
		}
		const span = lastSecond - firstSecond + 1
		at := time.Unix(firstSecond+floorMod(unix, span), 0)
		first := s.Next(at)
		if second := s.Next(at.Add(time.Duration(floorMod(later, 1<<40)) * time.Microsecond)); !second.IsZero() && second.Before(first) {
			t.Errorf("%s: after %s comes %s, but after later %s", s, at, first, second)
		}
		for range 4 {
			due := s.Next(at)
			if due.IsZero() {
				return
			}
			if !due.After(at) {
				t.Fatalf("%s: after %s comes %s", s, at, due)
			}
			at = due
		}
	})
}

// FuzzDuration: an interval in JSON is what model.ParseDuration makes of it, never negative; what compiles is within the bounds, and
// prints and parses again to the same.
func FuzzDuration(f *testing.F) {
	for _, text := range []string{
		"1s", "90s", "1h30m", "1d", "1w", "1y", "1000d", "1001d", "999ms", "1500ms", "0", "0s", "", "-1h", "1.5h", "1h1d", "293y", "9223372036854775807ms", "1",
		"１s", "1µs", " 1s", "00001s", "1s1s", "106751d23h47m16s854ms",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // JSON cannot say it
		}
		quoted, err := json.Marshal(map[string]string{"interval": text})
		if err != nil {
			t.Fatal(err)
		}
		var spec Spec
		err = json.Unmarshal(quoted, &spec)
		want, wantErr := model.ParseDuration(text)
		if (err == nil) != (wantErr == nil) || spec.Interval != want {
			t.Fatalf("%q: %s, %v; ParseDuration: %s, %v", text, spec.Interval, err, want, wantErr)
		}
		if err != nil {
			return
		}
		back, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		var again Spec
		if err := json.Unmarshal(back, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(spec, again); diff != "" {
			t.Fatalf("%q came back from %s (-want +got):\n%s", text, back, diff)
		}
		s, err := spec.Compile()
		every, ok := s.Interval()
		if ok != (err == nil) || ok != (spec.Interval >= model.Duration(MinInterval) && spec.Interval <= model.Duration(MaxInterval)) {
			t.Fatalf("%q compiled to %s, %v", text, s, err)
		}
		if !ok {
			return
		}
		if reread, err := model.ParseDuration(strings.TrimPrefix(s.String(), "every ")); err != nil || time.Duration(reread) != every {
			t.Fatalf("%q prints as %q", text, s)
		}
		at := time.Date(2026, 3, 29, 0, 59, 59, 0, time.UTC)
		if got := s.Next(at); got.Sub(at) != every {
			t.Fatalf("%q: after %s comes %s", text, at, got)
		}
	})
}
