// Package baseline keeps the running mean and variance of a monitor's durations.
package baseline

import "math"

// Stats are the count, mean and sum of squared deviations of a series of values, without the values.
//
// Add is Welford's update (B. P. Welford, "Note on a Method for Calculating Corrected Sums of Squares and Products",
// Technometrics 4, 1962); Merge is that of T. F. Chan, G. H. Golub and R. J. LeVeque ("Updating Formulae and a Pairwise
// Algorithm for Computing Sample Variances", Stanford STAN-CS-79-773, 1979). The zero value holds no values.
type Stats struct {
	N    int64   `json:"n"`
	Mean float64 `json:"mean"`
	M2   float64 `json:"m2"`
}

// Add returns the statistics with one more value.
func (s Stats) Add(x float64) Stats {
	s.N++
	d := x - s.Mean
	s.Mean += d / float64(s.N)
	s.M2 += d * (x - s.Mean)
	return s
}

// Merge returns the statistics of both series together.
func (s Stats) Merge(o Stats) Stats {
	if s.N == 0 {
		return o
	}
	if o.N == 0 {
		return s
	}
	n := s.N + o.N
	d := o.Mean - s.Mean
	return Stats{
		N:    n,
		Mean: s.Mean + d*float64(o.N)/float64(n),
		M2:   s.M2 + o.M2 + d*d*float64(s.N)*float64(o.N)/float64(n),
	}
}

// Stddev is the sample standard deviation, √(M2/(n−1)); 0 with fewer than two values.
func (s Stats) Stddev() float64 {
	if s.N < 2 {
		return 0
	}
	return math.Sqrt(s.M2 / float64(s.N-1))
}

// Limits say when a value is an anomaly.
type Limits struct {
	ZScore       float64 // standard deviations from the mean, either way
	MinRuns      int64   // values known before any is judged
	MinDeviation float64 // least distance from the mean, in the values' unit
}

// maxZ stands for the z-score of a value off a series without any deviation, which has none: JSON knows no infinity.
const maxZ = 1e6

// Judge returns the z-score of x, (x − mean) / stddev, and whether it is an anomaly: too large if positive, too small if
// negative. With fewer than MinRuns values the z-score is 0 and nothing is an anomaly.
func (s Stats) Judge(x float64, l Limits) (z float64, anomaly bool) {
	if s.N < max(l.MinRuns, 2) {
		return 0, false
	}
	d := x - s.Mean
	if d == 0 {
		return 0, false
	}
	z = maxZ
	if sd := s.Stddev(); sd > 0 {
		z = min(math.Abs(d)/sd, maxZ)
	}
	anomaly = z >= l.ZScore && math.Abs(d) >= l.MinDeviation
	return math.Copysign(z, d), anomaly
}
