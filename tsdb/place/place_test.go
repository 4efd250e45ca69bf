package place

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/pg"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

func marker(offset int64, seq uint64) *record.Entry {
	rec := record.AppendMarker(nil, record.Marker{Since: time.Now()})
	record.Stamp(rec, 1, seq, time.Now())
	return &record.Entry{Offset: offset, Value: rec}
}

func TestReadingGoesOnWhereTheLogWasCut(t *testing.T) {
	// Take said 1000; the log ends at 500 (ErrBeyondEnd), Drive tells Lost and reads on at 500.
	now := time.Unix(1000, 0)
	p := &Place{next: 1000, committed: 1000, flushed: now}
	p.Lost(500)
	if _, fresh, malformed, err := p.Read(marker(500, 1)); err != nil || malformed != nil || !fresh {
		t.Errorf("for ever, until the log has 1000 records again: %v, %v, %v", fresh, malformed, err)
	}
	if p.Due(now.Add(time.Second), false) || !p.Due(now.Add(offsetsAfter), false) {
		t.Error("the new offset is to be written in its time, though no row comes")
	}
}

func TestRead(t *testing.T) {
	p := &Place{next: 10}
	if _, _, _, err := p.Read(marker(9, 1)); err == nil {
		t.Error("an offset that goes back was taken")
	}
	if _, fresh, _, err := p.Read(marker(10, 1)); err != nil || !fresh {
		t.Errorf("a first record: %v, %v", fresh, err)
	}
	if _, fresh, _, err := p.Read(marker(11, 1)); err != nil || fresh {
		t.Errorf("a producer's repetition: fresh %v, %v", fresh, err)
	}
	if _, _, malformed, err := p.Read(&record.Entry{Offset: 12, Value: []byte("?")}); err != nil || !errors.Is(malformed, record.ErrMalformed) {
		t.Errorf("a record that is none: %v, %v", malformed, err)
	}
	newer := marker(13, 2)
	newer.Value[0] = 99
	if _, _, _, err := p.Read(newer); !errors.Is(err, record.ErrVersion) {
		t.Errorf("a record of a newer program: %v", err)
	}
}

func TestOfManyThatCannotBeReadTheLogSpeaksOnce(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	p := &Place{}
	for n := range 3 {
		p.PassOver(t.Context(), log, &record.Entry{Offset: int64(n)}, errors.New("bad"))
	}
	p.Understood(t.Context(), log, &record.Entry{Offset: 3})
	p.Understood(t.Context(), log, &record.Entry{Offset: 4})
	if n := strings.Count(said.String(), "\n"); n != 2 || !strings.Contains(said.String(), "passed_over=3") {
		t.Errorf("%d lines:\n%s", n, said.String())
	}
}

func TestWhoLostThePartitionCommitsNoMore(t *testing.T) {
	pool := pgtest.New(t)
	first, err := Take(t.Context(), pool, "log", "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := first.Read(marker(0, 1)); err != nil {
		t.Fatal(err)
	}
	commit := func(p *Place) error {
		return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return p.Commit(t.Context(), tx) })
	}
	if err := commit(first); err != nil {
		t.Fatal(err)
	}
	first.Committed(time.Now())
	second, err := Take(t.Context(), pool, "log", "x", 0)
	if err != nil {
		t.Fatal(err)
	}
	if second.Next() != 1 {
		t.Errorf("reading goes on at %d, want 1", second.Next())
	}
	if _, fresh, _, err := second.Read(marker(1, 1)); err != nil || fresh {
		t.Errorf("what was read before the hand-over is not known: fresh %v, %v", fresh, err)
	}
	if err := commit(first); !errors.Is(err, pg.ErrFenced) {
		t.Errorf("the first commits on: %v", err)
	}
}
