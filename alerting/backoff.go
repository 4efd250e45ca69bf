package alerting

import (
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
)

const (
	backoffBase    = time.Second
	backoffRefused = 5 * time.Second
	backoffCap     = 5 * time.Minute
	longestWish    = time.Hour // of a Retry-After: nobody is left without alerts for longer by a slip
)

// retryIn returns how long to wait after the attempt of this number (from 1) was not taken. It doubles from attempt to
// attempt up to backoffCap, of which a uniform share r in [0, 1) is waited ("full jitter":
// aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter), so that what failed together does not come back
// together. A receiver that asked to be left alone is left alone for at least as long, and a tenth more at random.
func retryIn(attempt int, answer alert.Answer, r float64) time.Duration {
	ceiling := backoffBase
	if answer.Refused {
		ceiling = backoffRefused
	}
	for i := 1; i < attempt && ceiling < backoffCap; i++ {
		ceiling *= 2
	}
	wait := time.Duration(r * float64(min(ceiling, backoffCap)))
	asked := min(answer.RetryAfter, longestWish)
	return max(wait, asked+time.Duration(r*float64(asked)/10))
}
