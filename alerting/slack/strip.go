package slack

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
)

const (
	stripRuns = 24
	stripWait = 2 * time.Second // a message does not wait longer for its strip
)

// strip is the monitor's last runs in a line, "" where there are none to show.
func (a *App) strip(ctx context.Context, org tenant.OrgID, mon uuid.UUID) string {
	if a.o.Runs == nil || mon == uuid.Nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, stripWait)
	defer cancel()
	now := a.o.Clock()
	// The watermark of the runs may be a little ahead of this clock; older ones than a year would cost a look at every chunk.
	window := history.Window{From: now.AddDate(-1, 0, 0), To: now.Add(time.Hour)}
	runs, err := a.o.Runs.Runs(ctx, org, mon, history.Page{Window: window, Limit: stripRuns})
	if err != nil {
		a.o.Logger.WarnContext(ctx, "slack: a message goes without the monitor's runs", "org", org, "monitor", mon, "error", err)
		return ""
	}
	return draw(runs)
}

// draw makes a line of runs, the youngest last: a bar as high as the run was long, ✕ where it failed, · where it never came, – where
// its end is not known.
func draw(runs []history.Run) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	longest := time.Duration(0)
	for _, r := range runs {
		if r.Outcome == monitor.Succeeded && r.Duration != record.NoDuration {
			longest = max(longest, r.Duration)
		}
	}
	out := make([]rune, 0, len(runs))
	for _, r := range slices.Backward(runs) {
		switch r.Outcome {
		case monitor.Succeeded:
			height := 0
			if longest > 0 && r.Duration > 0 {
				height = int(float64(r.Duration) / float64(longest) * float64(len(bars)-1))
			}
			out = append(out, bars[height])
		case monitor.Failed:
			out = append(out, '✕')
		case monitor.Missed:
			out = append(out, '·')
		default:
			out = append(out, '–')
		}
	}
	return string(out)
}
