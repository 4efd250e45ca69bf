// Package loadgen puts load on a Tokiflow server and measures it: pings at a rate or as fast as answers come, and how
// long it takes from a deadline to the webhook that tells of it.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/client"
)

// PingOptions describe one load of pings.
type PingOptions struct {
	BaseURL     string
	Targets     []string // ping keys, or "project key/slug"; they take turns
	Connections int      // at the same time, each with one request under way
	Rate        float64  // requests a second over all connections; 0: as fast as the answers come
	Duration    time.Duration
	Warmup      time.Duration // load before the measurement that does not count
	Body        []byte
	Kind        string // empty for success; start, fail, log or an exit status
	Runs        bool   // in place of Kind: a start and then a success, with a run id of their own
	Batch       int    // above 0: that many pings a request, by the batch endpoint
	APIKey      string // for Batch
	Create      bool   // make unknown slugs
	IDs         io.Writer
}

func (o PingOptions) check() (*url.URL, error) {
	base, err := client.ParseBaseURL(o.BaseURL)
	switch {
	case err != nil:
		return nil, err
	case len(o.Targets) == 0:
		return nil, errors.New("there is no key to ping")
	case o.Connections < 1:
		return nil, errors.New("at least one connection is needed")
	case o.Duration <= 0:
		return nil, errors.New("the duration must be above 0")
	case o.Rate < 0:
		return nil, errors.New("the rate must not be below 0")
	case o.Batch > 0 && o.APIKey == "":
		return nil, errors.New("batches need an API key with the scope ping")
	case o.Batch > 0 && o.IDs != nil:
		return nil, errors.New("batches are answered without ping ids")
	}
	return base, nil
}

// PingResult is what came of a load.
type PingResult struct {
	Sent     uint64         // pings in requests that were sent
	Answered uint64         // pings that the server has promised to keep
	Refused  uint64         // pings of a batch that it has not taken
	Statuses map[int]uint64 // requests by HTTP status
	Failed   uint64         // requests without an answer
	LastFail string         // why the latest of them failed
	Elapsed  time.Duration
	Latency  Histogram // of the answered requests; at a Rate from the moment the request was due
}

// PerSecond is how many pings a second were answered.
func (r *PingResult) PerSecond() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Answered) / r.Elapsed.Seconds()
}

// Ping puts the load on the server until the duration is over or ctx ends, which is no error.
func Ping(ctx context.Context, o PingOptions) (*PingResult, error) {
	base, err := o.check()
	if err != nil {
		return nil, err
	}
	g := &generator{o: o, base: base, begin: time.Now()}
	g.front, g.back = around(base, o.Body)
	g.measure = g.begin.Add(o.Warmup)
	g.end = g.measure.Add(o.Duration)
	workers := make([]*worker, o.Connections)
	var all sync.WaitGroup
	for i := range workers {
		workers[i] = &worker{g: g, next: i, result: PingResult{Statuses: map[int]uint64{}}}
		all.Go(func() { workers[i].run(ctx) })
	}
	all.Wait()
	total := &PingResult{Statuses: map[int]uint64{}, Elapsed: min(time.Since(g.measure), g.end.Sub(g.measure))}
	for _, w := range workers {
		total.merge(&w.result)
	}
	if err := g.idError(); err != nil {
		return total, fmt.Errorf("writing the ping ids: %w", err)
	}
	return total, nil
}

func (r *PingResult) merge(o *PingResult) {
	r.Sent += o.Sent
	r.Answered += o.Answered
	r.Refused += o.Refused
	r.Failed += o.Failed
	if o.LastFail != "" {
		r.LastFail = o.LastFail
	}
	for status, n := range o.Statuses {
		r.Statuses[status] += n
	}
	r.Latency.Merge(&o.Latency)
}

// generator is what the workers of one load share.
type generator struct {
	o                   PingOptions
	base                *url.URL
	begin, measure, end time.Time    // the load's; it counts from measure on
	front, back         []byte       // of a request, around the target
	slot                atomic.Int64 // the next request's number, at a rate

	ids     sync.Mutex
	idFault error
}

// due waits for the moment of the next request and returns it; false: the load is over.
func (g *generator) due(ctx context.Context) (time.Time, bool) {
	now := time.Now()
	if ctx.Err() != nil || !now.Before(g.end) {
		return now, false
	}
	if g.o.Rate == 0 {
		return now, true
	}
	n := g.slot.Add(1) - 1
	at := g.begin.Add(time.Duration(float64(n) / g.o.Rate * float64(time.Second)))
	if !at.Before(g.end) {
		return at, false
	}
	return at, pause(ctx, at.Sub(now))
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// note writes down the id of an answered ping.
func (g *generator) note(id []byte) {
	if g.o.IDs == nil {
		return
	}
	g.ids.Lock()
	defer g.ids.Unlock()
	_, err := g.o.IDs.Write(id)
	if err == nil {
		_, err = io.WriteString(g.o.IDs, "\n")
	}
	if err != nil && g.idFault == nil {
		g.idFault = err
	}
}

func (g *generator) idError() error {
	g.ids.Lock()
	defer g.ids.Unlock()
	return g.idFault
}

// worker is one connection and what it has seen.
type worker struct {
	g      *generator
	wire   *wire
	out    []byte    // the request under way
	next   int       // the next target's number; the workers take every n-th
	open   uuid.UUID // with Runs: the open run; uuid.Nil: none
	result PingResult
}

const maxPause = time.Second // between attempts to connect

func (w *worker) run(ctx context.Context) {
	defer func() {
		if w.wire != nil {
			w.wire.shut()
		}
	}()
	wait := 10 * time.Millisecond
	for {
		at, ok := w.g.due(ctx)
		if !ok {
			return
		}
		if err := w.once(ctx, at); err != nil {
			w.lost(err, at)
			if !pause(ctx, wait) {
				return
			}
			wait = min(2*wait, maxPause)
			continue
		}
		wait = 10 * time.Millisecond
	}
}

// lost counts a request without an answer.
func (w *worker) lost(err error, at time.Time) {
	if w.wire != nil {
		w.wire.shut()
		w.wire = nil
	}
	if !at.Before(w.g.measure) {
		w.result.Failed++
		w.result.LastFail = err.Error()
	}
}

// once sends one request and counts its answer.
func (w *worker) once(ctx context.Context, at time.Time) error {
	if w.wire == nil {
		wire, err := dial(ctx, w.g.base)
		if err != nil {
			return err
		}
		w.wire = wire
	}
	pings := w.write()
	if w.g.o.Rate == 0 {
		at = time.Now()
	}
	a, err := w.wire.exchange(w.out)
	if err != nil {
		return err
	}
	if a.status == 200 || a.status == 201 {
		w.g.note(a.pingID)
	}
	w.count(a, pings, at)
	if a.close {
		w.wire.shut()
		w.wire = nil
	}
	if a.status == 503 {
		pause(ctx, 10*time.Millisecond)
	}
	return nil
}

func (w *worker) count(a answer, pings int, at time.Time) {
	if at.Before(w.g.measure) {
		return
	}
	r := &w.result
	r.Sent += uint64(pings)
	r.Statuses[a.status]++
	r.Latency.Add(time.Since(at))
	if a.status == 200 || a.status == 201 {
		taken := accepted(a.body, pings, w.g.o.Batch > 0)
		r.Answered += uint64(taken)
		r.Refused += uint64(pings - taken)
	}
}
