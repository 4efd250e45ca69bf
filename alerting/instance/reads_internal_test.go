package instance

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestReadsTakeTurns: one organisation's readers must not take the memory and the processors of all.
func TestReadsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &front{reads: make(chan struct{}, maxReads)}
		for range maxReads {
			if !f.mayRead(t.Context()) {
				t.Fatal("nobody reads, and it may not")
			}
		}
		began := time.Now()
		if f.mayRead(t.Context()) || time.Since(began) != readWait {
			t.Errorf("one too many was let in, or refused after %s", time.Since(began))
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if f.mayRead(gone) {
			t.Error("who has gone reads")
		}
		time.AfterFunc(time.Second, func() { <-f.reads })
		if !f.mayRead(t.Context()) {
			t.Error("whose turn it was may not read")
		}
	})
}
