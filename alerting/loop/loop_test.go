package loop_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokiflow/tokiflow/alerting/loop"
)

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{}, 1)
		pause := func(ctx context.Context, d time.Duration) time.Duration {
			began := time.Now()
			loop.Pause(ctx, d, wake)
			return time.Since(began)
		}
		if took := pause(t.Context(), time.Minute); took != time.Minute {
			t.Errorf("it took %v", took)
		}
		loop.Poke(wake)
		loop.Poke(wake) // it blocks nobody
		if took := pause(t.Context(), 0); took != 0 || len(wake) != 1 {
			t.Errorf("no pause took %v, %d wait", took, len(wake))
		}
		if took := pause(t.Context(), time.Minute); took != 0 {
			t.Errorf("poked before, it took %v", took)
		}
		ended, end := context.WithTimeout(t.Context(), time.Second)
		defer end()
		if took := pause(ended, time.Minute); took != time.Second {
			t.Errorf("it took %v after its context had ended", took)
		}
	})
}
