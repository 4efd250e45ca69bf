package forward

import (
	"time"

	"github.com/tokiflow/tokiflow/core/forward"
	"github.com/tokiflow/tokiflow/core/series"
)

// batchSamples is the most samples of one request; Prometheus' own default.
const batchSamples = 2000

// speaker makes bodies of samples, in the language of one kind of receiver.
type speaker interface {
	// begin tells of the samples to come: those after from up to to are to be sent. It returns after which instant they are
	// to be read.
	begin(from, to time.Time) time.Time
	// add gathers samples and calls full whenever there are enough for a request.
	add(list []series.Series, full func() error) error
	// take returns what has been gathered as a body, and begins anew.
	take() (body []byte, samples int, err error)
}

func newSpeaker(c *forward.Config) speaker {
	if c.Kind == forward.Datadog {
		return newDatadog(c)
	}
	return newRemoteWrite(c)
}

// window is the instants of a step in milliseconds: from is not in it, to is.
type window struct{ from, to int64 }

func (w *window) set(from, to time.Time) { w.from, w.to = from.UnixMilli(), to.UnixMilli() }

func (w *window) has(at int64) bool { return at > w.from && at <= w.to }

// valueOf is the value of a label; "" where there is none.
func valueOf(labels []series.Label, name string) string {
	for _, l := range labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}
