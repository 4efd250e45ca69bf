package schedule

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"
)

// madeUpZone is a zone that is at UTC until a moment and has another offset from then on, made as the bytes of a zone file
// (RFC 9636, version 1). Real zones do not change by just the amounts at which the rules change.
func madeUpZone(t *testing.T, at time.Time, offset time.Duration) *time.Location {
	t.Helper()
	b := append([]byte("TZif"), make([]byte, 16)...)
	for _, n := range []uint32{0, 0, 0, 1, 2, 8} { // counts: of isutc, isstd, leap seconds, changes, kinds, name bytes
		b = binary.BigEndian.AppendUint32(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(at.Unix()))
	b = append(b, 1)                                                                      // the change is to kind 1
	b = append(b, 0, 0, 0, 0, 0, 0)                                                       // kind 0: UTC, its name at 0
	b = append(binary.BigEndian.AppendUint32(b, uint32(int32(offset/time.Second))), 0, 4) // kind 1
	zone, err := time.LoadLocationFromTZData("Made/Up", append(b, "OLD\x00NEW\x00"...))
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

func inZone(t *testing.T, text string, zone *time.Location) Schedule {
	t.Helper()
	e, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return Schedule{cron: &cron{expression: e, zone: zone, text: text}}
}

// TestThreeHours finds where a change of the clock stops being daylight saving time.
func TestThreeHours(t *testing.T) {
	noon := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	const hour, minute = time.Hour, time.Minute
	for _, c := range []struct {
		jump       time.Duration
		cron       string
		dueThatDay int
	}{
		{3*hour - minute, "30 12 * * *", 1}, // skipped, made up for
		{3 * hour, "30 12 * * *", 0},        // skipped
		{3 * hour, "0 15 * * *", 1},
		{-3 * hour, "30 11 * * *", 1},          // repeated, held back
		{-3*hour - minute, "30 11 * * *", 2},   // repeated
		{-3*hour - minute, "*/59 11 * * *", 4}, // 11:00 and 11:59, twice
		{3*hour - minute, "*/59 12 * * *", 0},  // of 12:00 and 12:59 neither is on the wall
		{-minute, "59 11 * * *", 1},
		{minute, "0 12 * * *", 1},
		{minute, "0 */12 * * *", 1}, // midnight; 12:00 is skipped
	} {
		s := inZone(t, c.cron, madeUpZone(t, noon, c.jump))
		n := 0
		for at := noon.Add(-12*hour - minute); ; n++ {
			if at = s.Next(at); at.In(s.cron.zone).Day() != 15 {
				break
			}
		}
		if n != c.dueThatDay {
			t.Errorf("%s when noon is moved by %s: due %d times that day, want %d", c.cron, c.jump, n, c.dueThatDay)
		}
	}
}

// TestChangesBySeconds: local mean time was given up at odd seconds. A minute whose middle is cut out or said twice is one minute.
func TestChangesBySeconds(t *testing.T) {
	at := time.Date(2026, 6, 15, 12, 0, 30, 0, time.UTC)
	for _, c := range []struct {
		jump time.Duration
		want []string
	}{
		{20 * time.Second, []string{"12:00:00", "12:00:40", "12:01:40"}},
		{-20 * time.Second, []string{"12:00:00", "12:01:20", "12:02:20"}},
		{40 * time.Second, []string{"12:00:00", "12:00:30", "12:01:20"}},
		{5 * time.Minute, []string{"12:00:00", "12:00:30", "12:01:00"}},
	} {
		s := inZone(t, "* * * * *", madeUpZone(t, at, c.jump))
		for i, due := range NextN(s, at.Add(-time.Minute), len(c.want)) {
			if got := due.Format("15:04:05"); got != c.want[i] {
				t.Errorf("moved by %s: due moment %d is %s, want %s", c.jump, i+1, got, c.want[i])
			}
		}
	}
}

// TestNextAgreesInMadeUpZones holds Next to the daemon for changes of any number of minutes.
func TestNextAgreesInMadeUpZones(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i < 300 && !t.Failed(); i++ {
		at := time.Date(2026, 6, 1, 0, r.IntN(10*1440), 0, 0, time.UTC)
		jump := time.Duration(r.IntN(400)-200) * time.Minute
		if r.IntN(4) == 0 {
			jump = time.Duration([]int{-182, -181, -180, -179, 178, 179, 180, 181}[r.IntN(8)]) * time.Minute
		}
		j := randomJob(r)
		s := inZone(t, j.text, madeUpZone(t, at, jump))
		compare(t, r, j, s, at.Add(-30*time.Hour), at.Add(30*time.Hour))
		if t.Failed() {
			t.Logf("the clock moved by %s at %s", jump, at)
		}
	}
}
