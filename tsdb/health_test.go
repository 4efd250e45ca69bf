package tsdb

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestHealthScoreOfKnownCases(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	f := func(v vitals, want float64) {
		t.Helper()
		if got := healthScore(v); math.Abs(got-want) > 0.05 {
			t.Errorf("%+v: %.2f, want %.2f", v, got, want)
		}
	}
	f(vitals{1, 1, 0, 0}, 100)
	f(vitals{0, 1, 0, 0}, 0)
	f(vitals{1, 0, 0, 0}, 0)
	f(vitals{0.99, 1, 0, 0}, 99.5)
	f(vitals{1, 0.9, 0, 0}, 96.9)
	f(vitals{1, 1, 1, 0}, 93.3)        // as late as the runs are apart
	f(vitals{1, 1, 0, 30.0 / 7}, 93.3) // one failure a week
	f(vitals{0.5, nan, nan, nan}, 50)  // only up and down are known
	f(vitals{nan, 0.5, nan, nan}, 50)  // only runs are known
	if got := healthScore(vitals{nan, nan, nan, nan}); !math.IsNaN(got) {
		t.Errorf("nothing known: %v", got)
	}
}

// The score is between 0 and 100 and never rises when one of the vitals gets worse.
func TestHealthScoreIsMonotone(t *testing.T) {
	t.Parallel()
	unknown := func(v float64) float64 {
		if rand.IntN(4) == 0 {
			return math.NaN()
		}
		return v
	}
	for range 20_000 {
		v := vitals{
			Availability: unknown(rand.Float64()), Success: unknown(rand.Float64()),
			Lateness: unknown(rand.ExpFloat64()), Failures: unknown(rand.ExpFloat64() * 10),
		}
		score := healthScore(v)
		if !math.IsNaN(score) && !(score >= 0 && score <= 100) {
			t.Fatalf("%+v: %v", v, score)
		}
		worse := v
		switch rand.IntN(4) {
		case 0:
			worse.Availability *= rand.Float64()
		case 1:
			worse.Success *= rand.Float64()
		case 2:
			worse.Lateness += rand.ExpFloat64()
		case 3:
			worse.Failures += rand.ExpFloat64()
		}
		if got := healthScore(worse); got > score+1e-9 {
			t.Fatalf("%+v has %v, %+v has %v", v, score, worse, got)
		}
	}
}
