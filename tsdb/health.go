package tsdb

import "math"

// vitals are what the health score is made of. NaN: not known, as nothing happened.
type vitals struct {
	Availability float64 // up / (up + down), 0 to 1
	Success      float64 // succeeded / (succeeded + failed + missed + abandoned), 0 to 1
	Lateness     float64 // mean lateness of a run ÷ mean time between runs, 0 or more
	Failures     float64 // changes to down for each 30 days observed, 0 or more
}

// The weights say what a person minds most: that the job's work is not done, then how it fares when it runs, then the rest.
const (
	weightAvailability = 0.5
	weightSuccess      = 0.3
	weightPunctuality  = 0.1
	weightStability    = 0.1
)

// failuresAtHalf is how many failures in 30 days halve the stability: one a week.
const failuresAtHalf = 30.0 / 7

// healthScore is a figure from 0 (never up) to 100 (always up, every run a success, on time, without a failure) to order
// monitors by. It is ours; it claims no more than to fall whenever one of the vitals gets worse:
//
//	score = 100 · A^0.5 · S^0.3 · P^0.1 · T^0.1
//
// a weighted geometric mean, so that no other merit makes up for a monitor that is never up, of
//
//	A  availability
//	S  success ratio
//	P  punctuality = 1 / (1 + mean lateness ÷ mean time between runs)
//	T  stability = 1 / (1 + failures per 30 days ÷ (30/7)): one failure a week is 0.5
//
// What is not known is left out and the weights of the rest are scaled to 1; NaN when nothing is known.
func healthScore(v vitals) float64 {
	parts := [...]struct{ value, weight float64 }{
		{v.Availability, weightAvailability},
		{v.Success, weightSuccess},
		{1 / (1 + v.Lateness), weightPunctuality},
		{1 / (1 + v.Failures/failuresAtHalf), weightStability},
	}
	product, weights := 1.0, 0.0
	for _, p := range parts {
		if !math.IsNaN(p.value) {
			product *= math.Pow(p.value, p.weight)
			weights += p.weight
		}
	}
	if weights == 0 {
		return math.NaN()
	}
	return 100 * math.Pow(product, 1/weights)
}
