package eventlog_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
)

// script is a Consumer, and the Reader of its log, that do what a test says and note when they were called.
type script struct {
	start    time.Time
	calls    []string
	at       []float64 // seconds
	assigned func() (int64, error)
	batch    func(recs []record.Entry, atEnd bool) error
	open     func(offset int64) error
	next     func(offset int64) ([]record.Entry, bool, error)
	offset   int64
	closed   int
	opened   int
}

func (s *script) note(call string) {
	s.calls = append(s.calls, call)
	s.at = append(s.at, time.Since(s.start).Seconds())
}

func (s *script) Assigned(context.Context, int) (int64, error) {
	s.note("assigned")
	if s.assigned != nil {
		return s.assigned()
	}
	return 0, nil
}

func (s *script) Batch(_ context.Context, _ int, recs []record.Entry, atEnd bool) error {
	if len(recs) > 0 {
		s.note("batch")
	} else {
		s.note("idle")
	}
	if s.batch != nil {
		return s.batch(recs, atEnd)
	}
	return nil
}

func (s *script) Revoked(int) { s.note("revoked") }

func (s *script) Lost(_ int, err error, next int64) { s.note("lost " + err.Error()) }

func (s *script) openReader(_ context.Context, _ int, offset int64) (eventlog.Reader, error) {
	s.offset = offset
	if s.open != nil {
		if err := s.open(offset); err != nil {
			return nil, err
		}
	}
	s.opened++
	return s, nil
}

func (s *script) Next(ctx context.Context, wait time.Duration) ([]record.Entry, bool, error) {
	if s.next != nil {
		recs, atEnd, err := s.next(s.offset)
		if len(recs) > 0 {
			s.offset = recs[len(recs)-1].Offset + 1
		}
		if len(recs) > 0 || err != nil {
			return recs, atEnd, err
		}
	}
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-time.After(wait):
		return nil, true, nil
	}
}

func (s *script) Close() error {
	s.closed++
	return nil
}

// drive runs s for a time and returns what was logged.
func (s *script) drive(t *testing.T, d time.Duration) string {
	t.Helper()
	var logged bytes.Buffer
	s.start = time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	eventlog.Drive(ctx, 0, s, s.openReader, slog.New(slog.NewTextHandler(&logged, nil)))
	if s.opened != s.closed {
		t.Errorf("%d readers opened, %d closed", s.opened, s.closed)
	}
	if last := s.calls[len(s.calls)-1]; last != "revoked" {
		t.Errorf("the last call is %s", last)
	}
	return logged.String()
}

func (s *script) without(call string) string {
	var words []string
	for _, c := range s.calls {
		if c != call {
			words = append(words, c)
		}
	}
	return strings.Join(words, " ")
}

func TestDriveIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		if logged := s.drive(t, 2100*time.Millisecond); logged != "" {
			t.Errorf("logged: %s", logged)
		}
		if got, want := strings.Join(s.calls, " "), "assigned idle idle idle idle idle idle idle idle revoked"; got != want {
			t.Errorf("calls %s", got)
		}
	})
}

// Pauses after errors of the consumer double from 100 ms to 5 s, give or take a quarter, and a streak is logged once.
func TestDriveConsumerErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.assigned = func() (int64, error) {
			if time.Since(s.start) < 30*time.Second {
				return 0, errors.New("no database")
			}
			return 0, nil
		}
		logged := s.drive(t, time.Minute)
		var pauses []float64
		last := -1.0
		for i, c := range s.calls {
			if c == "assigned" {
				if last >= 0 {
					pauses = append(pauses, s.at[i]-last)
				}
				last = s.at[i]
			}
		}
		want := 0.1
		for i, p := range pauses {
			if p < want*0.74 || p > want*1.26 {
				t.Errorf("pause %d is %v s instead of about %v", i, p, want)
			}
			want = min(2*want, 5)
		}
		if len(pauses) < 9 {
			t.Errorf("%d pauses in 30 s", len(pauses))
		}
		if n := strings.Count(logged, "no database"); n != 1 {
			t.Errorf("a streak was logged %d times", n)
		}
		if n := strings.Count(logged, "works again"); n != 1 {
			t.Errorf("its end was logged %d times", n)
		}
	})
}

// While the log cannot be read the consumer keeps its assignment and its chance to flush.
func TestDriveReaderErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.next = func(int64) ([]record.Entry, bool, error) {
			if time.Since(s.start) < 20*time.Second {
				return nil, false, errors.New("no broker")
			}
			return nil, false, nil
		}
		atEnds := 0
		s.batch = func(_ []record.Entry, atEnd bool) error {
			if atEnd && time.Since(s.start) < 20*time.Second {
				atEnds++
			}
			return nil
		}
		logged := s.drive(t, 30*time.Second)
		if got := s.without("idle"); got != "assigned revoked" {
			t.Errorf("calls %s", got)
		}
		for i := 1; i < len(s.at); i++ {
			if d := s.at[i] - s.at[i-1]; d > 0.251 {
				t.Errorf("%v s without a call at %v", d, s.at[i])
			}
		}
		if atEnds > 0 {
			t.Errorf("%d times at the end of a log that cannot be read", atEnds)
		}
		if n := strings.Count(logged, "no broker"); n != 1 {
			t.Errorf("a streak was logged %d times: %s", n, logged)
		}
		if n := strings.Count(logged, "can be read again"); n != 1 {
			t.Errorf("its end was logged %d times", n)
		}
	})
}

// After an error of the reader it is opened again behind the last record that the consumer took.
func TestDriveResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.next = func(offset int64) ([]record.Entry, bool, error) {
			if offset >= 10 {
				return nil, false, nil
			}
			if offset%3 == 2 && s.opened < int(offset)/3+2 {
				return nil, false, errors.New("connection reset")
			}
			return []record.Entry{{Offset: offset}}, false, nil
		}
		var got []int64
		s.batch = func(recs []record.Entry, _ bool) error {
			for _, e := range recs {
				got = append(got, e.Offset)
			}
			return nil
		}
		s.drive(t, time.Minute)
		for i, o := range got {
			if o != int64(i) {
				t.Fatalf("offsets %v", got)
			}
		}
		if len(got) != 10 || s.opened != 4 {
			t.Errorf("offsets %v with %d readers", got, s.opened)
		}
	})
}

func TestDriveLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.open = func(offset int64) error {
			if offset < 7 {
				return &eventlog.OffsetError{Wanted: offset, Next: 7, Reason: eventlog.ErrTrimmed}
			}
			return nil
		}
		logged := s.drive(t, time.Second)
		want := "assigned lost records are missing from the log: asked for offset 0, the oldest kept is 7 revoked"
		if got := s.without("idle"); got != want {
			t.Errorf("calls %s", got)
		}
		if !strings.Contains(logged, "level=ERROR") || !strings.Contains(logged, "wanted=0 next=7") {
			t.Errorf("logged: %s", logged)
		}
		if s.offset != 7 {
			t.Errorf("reading goes on at %d", s.offset)
		}
	})
}

// A log that denies every offset must not make the loop spin.
func TestDriveLossWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.open = func(offset int64) error {
			return &eventlog.OffsetError{Wanted: offset, Next: offset ^ 1, Reason: eventlog.ErrBeyondEnd}
		}
		s.drive(t, time.Minute)
		if n := strings.Count(strings.Join(s.calls, " "), "lost"); n > 30 {
			t.Errorf("%d attempts in a minute", n)
		}
	})
}

func TestDriveEndsWhileConsumerWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.next = func(offset int64) ([]record.Entry, bool, error) {
			return []record.Entry{{Offset: offset}}, true, nil
		}
		s.batch = func([]record.Entry, bool) error { return context.DeadlineExceeded } // as a query does when ctx ends
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.drive(t, 50*time.Millisecond)
		}()
		<-done
	})
}
