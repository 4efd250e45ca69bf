package promapi

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

func TestGatesLetInSoManyOfEach(t *testing.T) {
	g := gates{most: 3}
	a, b := tenant.OrgID{UUID: uuid.UUID{1}}, tenant.OrgID{UUID: uuid.UUID{2}}
	var inside [2]atomic.Int32
	var wg sync.WaitGroup
	for i := range 200 {
		org := []tenant.OrgID{a, b}[i%2]
		wg.Go(func() {
			leave, err := g.enter(context.Background(), org)
			if err != nil {
				t.Error(err)
				return
			}
			if n := inside[i%2].Add(1); n > 3 {
				t.Errorf("%d at once", n)
			}
			time.Sleep(time.Microsecond)
			inside[i%2].Add(-1)
			leave()
		})
	}
	wg.Wait()
	if len(g.open) != 0 {
		t.Errorf("%d gates are remembered", len(g.open))
	}
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	g := gates{most: 1}
	org := tenant.OrgID{UUID: uuid.UUID{1}}
	leave, err := g.enter(t.Context(), org)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.enter(ctx, org); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	leave()
	if len(g.open) != 0 {
		t.Errorf("%d gates are remembered", len(g.open))
	}
	if leave, err = g.enter(ctx, org); err != nil { // a free place needs no waiting
		t.Error(err)
	} else {
		leave()
	}
}
