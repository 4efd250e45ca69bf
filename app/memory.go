package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	tuneInterval = 2 * time.Second
	// minSlack is how much may be allocated between two collections at least. Go's own rule would collect a small heap
	// many times a second under a load of pings.
	minSlack = 64 << 20
	// giveBackAbove is by how much the memory held may exceed what is needed before it is given back to the system.
	giveBackAbove = 1.1
	giveBackEvery = time.Minute
)

// tuneMemory keeps the collector at ease with a small heap and thrifty with a large one: it lets half of what is live, and at
// least minSlack, be allocated between two collections. After a load of many monitors it gives the memory back that only the
// loading took.
func tuneMemory(ctx context.Context) error {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t := time.NewTicker(tuneInterval)
	defer t.Stop()
	var gaveBack time.Time
	for {
		live, held := memory()
		slack := max(minSlack, live/2)
		debug.SetGCPercent(int(100 * slack / max(live, 1<<20)))
		if now := time.Now(); float64(held) > giveBackAbove*float64(live+slack) && now.Sub(gaveBack) > giveBackEvery {
			debug.FreeOSMemory()
			gaveBack = now
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// memory is what the last collection found alive, and what is held of the system, in bytes.
func memory() (live, held uint64) {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64() - s[2].Value.Uint64()
}
