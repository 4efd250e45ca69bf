package loadgen

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/incident"
)

// clockSlack is how far the server's clock may differ from ours before its figures are of no use.
const clockSlack = time.Second

// measure takes the times of an opened incident. Its deadline must be the last ping's time plus interval and grace.
func (d *detection) measure(w *watched) {
	in := w.opened.Data.Incident
	var e incident.Evidence
	if err := json.Unmarshal(in.Evidence, &e); err != nil || e.DeadlineAt == nil {
		d.fault("%s: the incident's evidence names no deadline: %s", w.Slug, in.Evidence)
		return
	}
	deadline, span := *e.DeadlineAt, d.o.Interval+d.o.Grace
	if deadline.Before(w.sent.Add(span-clockSlack)) || deadline.After(w.answered.Add(span+clockSlack)) {
		d.fault("%s: pinged last from %s to %s, but the deadline is said to have been %s", w.Slug, stamp(w.sent), stamp(w.answered), stamp(deadline))
		return
	}
	if in.OpenedAt.Before(deadline) {
		d.fault("%s: opened at %s, before the deadline %s", w.Slug, stamp(in.OpenedAt), stamp(deadline))
		return
	}
	d.result.Opened.Add(in.OpenedAt.Sub(deadline))
	d.result.Sent.Add(w.opened.At.Sub(in.OpenedAt))
	d.result.Told.Add(w.opened.At.Sub(deadline))
}

func stamp(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// judge looks for what did not come, after everything else has ended.
func (d *detection) judge() {
	for len(d.hooks.got) > 0 {
		d.take(<-d.hooks.got)
	}
	for _, w := range d.all {
		switch {
		case d.late(w):
			d.result.Excluded++
		case !w.silent && len(w.alarms) > 0:
			in := w.alarms[0].Data.Incident
			d.fault("%s: a false alarm: %s of %s, though it was pinged at least every %v", w.Slug, in.Kind, stamp(in.OpenedAt), w.slow.Round(time.Millisecond))
		case w.answered.IsZero():
			d.fault("%s: no ping was taken: %v", w.Slug, w.trouble)
		case w.silent && w.opened == nil:
			d.fault("%s: silent since %s, and no webhook told it", w.Slug, stamp(w.answered))
		case w.silent && w.resolved == nil:
			d.fault("%s: pinged again at %s, and no webhook told it", w.Slug, stamp(w.answered))
		}
	}
}

// Print writes the result for people.
func (r *DetectResult) Print(w io.Writer) error {
	rows := []struct {
		name string
		h    *Histogram
	}{
		{"deadline → incident opened_at", &r.Opened},
		{"opened_at → webhook received", &r.Sent},
		{"deadline → webhook received", &r.Told},
		{"ping answered → resolved received", &r.Resolved},
	}
	var text strings.Builder
	_, _ = fmt.Fprintf(&text, "%-34s %6s %10s %10s %10s %10s\n", "", "n", "p50", "p95", "p99", "max")
	for _, row := range rows {
		_, _ = fmt.Fprintf(&text, "%-34s %6d %10v %10v %10v %10v\n", row.name, row.h.Count(),
			short(row.h.Quantile(0.5)), short(row.h.Quantile(0.95)), short(row.h.Quantile(0.99)), short(row.h.Max()))
	}
	_, _ = fmt.Fprintf(&text, "told more than once: %d\n", r.Repeated)
	if r.Excluded > 0 {
		_, _ = fmt.Fprintf(&text, "monitors left out because this program pinged them too late: %d\n", r.Excluded)
	}
	for _, f := range r.Faults {
		_, _ = fmt.Fprintf(&text, "FAULT %s\n", f)
	}
	_, _ = fmt.Fprintf(&text, "%d faults\n", len(r.Faults))
	_, err := io.WriteString(w, text.String())
	return err
}

// short rounds a latency to what is worth reading.
func short(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}
