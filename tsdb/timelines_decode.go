package tsdb

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

// toRun reads the columns n, finished_at, started_at, outcome, duration_seconds, z_score.
func toRun(v [][]byte) monitor.Run {
	r := monitor.Run{FinishedAt: toTime(v[1]), StartedAt: toTime(v[2]), Outcome: toOutcome(v[3]), Duration: record.NoDuration, ZScore: toFloat(v[5])}
	if v[4] != nil {
		s := toFloat(v[4])
		r.Duration = orNoDuration(&s)
	}
	return r
}

// The binary form of PostgreSQL's types. NULL is the zero value.

func toTime(b []byte) time.Time {
	if len(b) != 8 {
		return time.Time{}
	}
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b)) + postgresEpoch).UTC()
}

func toFloat(b []byte) float64 {
	if len(b) != 8 {
		return 0
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b))
}

func toOutcome(b []byte) monitor.Outcome {
	for _, o := range [...]monitor.Outcome{monitor.Succeeded, monitor.Failed, monitor.Missed, monitor.Abandoned, monitor.Unknown} {
		if string(b) == string(o) {
			return o
		}
	}
	return monitor.Outcome(b)
}

func toStatus(b []byte) monitor.Status {
	for _, s := range [...]monitor.Status{monitor.Up, monitor.Down, monitor.Late, monitor.Paused, monitor.New} {
		if string(b) == string(s) {
			return s
		}
	}
	return monitor.Status(b)
}

// postgresEpoch is 2000-01-01 00:00 UTC in microseconds since 1970.
const postgresEpoch = 946_684_800_000_000
