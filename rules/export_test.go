package rules

import (
	"context"
	"sync"
)

// Round evaluates once all groups that are due now, as Run does it again and again, and returns how many it claimed.
func (e *Evaluator) Round(ctx context.Context) (int, error) {
	claims, horizon, err := e.claim(ctx, 100)
	var wg sync.WaitGroup
	for _, c := range claims {
		wg.Go(func() { e.guarded(ctx, c, horizon) })
	}
	wg.Wait()
	return len(claims), err
}
