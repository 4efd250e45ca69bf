package baseline_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/tokiflow/tokiflow/core/baseline"
)

// exact are mean and sample standard deviation by their definitions, in two passes.
func exact(xs []float64) (mean, stddev float64) {
	for _, x := range xs {
		mean += x / float64(len(xs))
	}
	for _, x := range xs {
		stddev += (x - mean) * (x - mean)
	}
	if len(xs) < 2 {
		return mean, 0
	}
	return mean, math.Sqrt(stddev / float64(len(xs)-1))
}

func of(xs ...float64) (s baseline.Stats) {
	for _, x := range xs {
		s = s.Add(x)
	}
	return s
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

func TestAgainstTheDefinition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		xs := make([]float64, 1+rnd.IntN(200))
		base := rnd.Float64() * 1e6 // far from 0: where the naive sum of squares loses its digits
		for i := range xs {
			xs[i] = base + rnd.NormFloat64()
		}
		mean, sd := exact(xs)
		if s := of(xs...); s.N != int64(len(xs)) || !near(s.Mean, mean) || math.Abs(s.Stddev()-sd) > 1e-6 {
			t.Fatalf("got %v ± %v, want %v ± %v", s.Mean, s.Stddev(), mean, sd)
		}
		cut := rnd.IntN(len(xs) + 1)
		m, whole := of(xs[:cut]...).Merge(of(xs[cut:]...)), of(xs...)
		if m.N != whole.N || !near(m.Mean, whole.Mean) || math.Abs(m.Stddev()-whole.Stddev()) > 1e-6 {
			t.Fatalf("merged at %d: %+v, want %+v", cut, m, whole)
		}
	}
}

func TestJudge(t *testing.T) {
	base := of(10, 12, 8, 10, 11, 9) // mean 10, standard deviation √2
	limits := baseline.Limits{ZScore: 3, MinRuns: 6, MinDeviation: 1}
	f := func(s baseline.Stats, x float64, l baseline.Limits, wantZ float64, want bool) {
		t.Helper()
		z, got := s.Judge(x, l)
		if got != want || math.Abs(z-wantZ) > 1e-3 {
			t.Errorf("Judge(%v) = %v, %v; want %v, %v", x, z, got, wantZ, want)
		}
	}
	f(base, 10, limits, 0, false)
	f(base, 14, limits, 2.828, false)
	f(base, 15, limits, 3.536, true)
	f(base, 5, limits, -3.536, true)
	f(base, 15, baseline.Limits{ZScore: 3, MinRuns: 7}, 0, false)                      // too few
	f(base, 15, baseline.Limits{ZScore: 3, MinRuns: 6, MinDeviation: 6}, 3.536, false) // too near
	f(of(5, 5, 5), 5, baseline.Limits{ZScore: 3}, 0, false)
	f(of(5, 5, 5), 5.5, baseline.Limits{ZScore: 3, MinDeviation: 1}, 1e6, false) // no deviation at all: only the distance speaks
	f(of(5, 5, 5), 7, baseline.Limits{ZScore: 3, MinDeviation: 1}, 1e6, true)
	f(baseline.Stats{}, 7, baseline.Limits{ZScore: 3}, 0, false)
	f(of(1), 7, baseline.Limits{ZScore: 3}, 0, false)
}
