package kafkalog

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// Consume shares the partitions with all processes that consume under the same name, and hands this process's share to
// c. A partition that stays here through a rebalance is read on without a break.
func (l *Log) Consume(ctx context.Context, name string, c eventlog.Consumer) error {
	if err := l.check(0); err != nil {
		return err
	}
	m := &member{l: l, group: l.o.Topic + "." + name}
	log := l.log.With("consumer", name)
	s := &share{c: c, f: &fetcher{l: l, ctx: ctx}, ctx: ctx, log: log, running: map[int]*drive{}, ending: map[int]*drive{}}
	pause := joinPause
	var failing time.Time // since when, zero: not
	warned := false
	for ctx.Err() == nil {
		err := s.generation(ctx, m, func() {
			if warned {
				log.InfoContext(ctx, "the consumer group works again")
			}
			failing, warned, pause = time.Time{}, false, joinPause
		})
		if ctx.Err() != nil || errors.Is(err, errRejoin) {
			continue
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if !warned && time.Since(failing) > joinPatience {
			log.WarnContext(ctx, "the consumer group cannot be joined; trying again", "err", err)
			warned = true
		}
		if m.silent() {
			// Others have our partitions by now. Reading on would only have us fight over them.
			s.set(nil)
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxJoinPause)
	}
	s.end()
	if err := m.leave(); err != nil {
		log.WarnContext(ctx, "others will wait for this consumer's session to end", "err", err)
	}
	return ctx.Err()
}

const (
	joinPause    = 100 * time.Millisecond
	maxJoinPause = 2 * time.Second
	// A coordinator that is just being chosen refuses for a moment: nothing to be told of.
	joinPatience = 3 * time.Second
)

// generation joins the group and stays until it rebalances or fails. joined is called when partitions were assigned.
func (s *share) generation(ctx context.Context, m *member, joined func()) error {
	partitions, err := m.join(ctx, s.held())
	if err != nil {
		return err
	}
	joined()
	s.log.InfoContext(ctx, "partitions assigned", "partitions", partitions, "generation", m.gen)
	s.set(partitions)
	t := time.NewTicker(heartbeatInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if err := m.heartbeat(ctx); err != nil {
			if errors.Is(err, errRejoin) || m.silent() || ctx.Err() != nil {
				return err
			}
			// A broker that restarts knows us again afterwards.
			s.log.DebugContext(ctx, "no heartbeat", "err", err)
		}
	}
}

// share is what this process reads of the topic.
type share struct {
	c       eventlog.Consumer
	f       *fetcher
	ctx     context.Context //nolint:containedctx // that of Consume, for the partitions that come later
	log     *slog.Logger
	running map[int]*drive
	ending  map[int]*drive // stopped, but perhaps not yet at the end of their last batch
}

// drive is the reading of one partition.
type drive struct {
	stop context.CancelFunc
	done chan struct{}
}

func (s *share) held() []int {
	var ps []int
	for p := range s.running {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	return ps
}

// set makes partitions the ones that are read. Those that leave are told to end and not waited for: a consumer that
// hangs in one of them must not keep us from the group.
func (s *share) set(partitions []int) {
	for p, d := range s.running {
		if !slices.Contains(partitions, p) {
			d.stop()
			s.ending[p] = d
			delete(s.running, p)
		}
	}
	for _, p := range partitions {
		if s.running[p] != nil {
			continue
		}
		ctx, stop := context.WithCancel(s.ctx)
		d := &drive{stop: stop, done: make(chan struct{})}
		s.running[p] = d
		before := s.ending[p]
		delete(s.ending, p)
		go func() {
			defer close(d.done)
			defer stop()
			if before != nil {
				<-before.done // a consumer has each partition once
			}
			eventlog.Drive(ctx, p, s.c, s.f.open, s.log)
		}()
	}
}

// end stops reading and waits until the consumer has been told.
func (s *share) end() {
	s.set(nil)
	for _, d := range s.ending {
		<-d.done
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
