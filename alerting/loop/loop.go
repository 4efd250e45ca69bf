// Package loop is what work that goes on in the background waits by.
package loop

import (
	"context"
	"time"
)

// Poke wakes whoever waits on c, now or next. c has room for one.
func Poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Pause waits for d, for wake (nil: never) or for the end of ctx.
func Pause(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
}
