package disklog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(appendForever(dir))
	}
	goleak.VerifyTestMain(m)
}

// quiet is a logger for what a test provokes.
func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // many tests close it earlier
	return l
}

func mustAppend(t testing.TB, l eventlog.Log, partition int, values ...string) int64 {
	t.Helper()
	bs := make([][]byte, len(values))
	for i, v := range values {
		bs[i] = []byte(v)
	}
	first, err := l.AppendBatch(context.Background(), partition, bs)
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// readAll returns all records from an offset on, without waiting for more.
func readAll(t testing.TB, l *Log, partition int, from int64) []logtest.Record {
	t.Helper()
	got, err := tryReadAll(l, partition, from)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func tryReadAll(l *Log, partition int, from int64) ([]logtest.Record, error) {
	r, err := l.open(context.Background(), partition, from)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	var got []logtest.Record
	for {
		recs, atEnd, err := r.Next(context.Background(), 0)
		if err != nil {
			return got, err
		}
		for _, e := range recs {
			got = append(got, logtest.Record{Offset: e.Offset, Value: string(e.Value)})
		}
		if atEnd {
			return got, nil
		}
	}
}

func TestConformance(t *testing.T) {
	for _, segment := range []int{4 << 10, 1 << 20} { // many small segments, and few
		t.Run(fmt.Sprintf("segments of %d", segment), func(t *testing.T) {
			logtest.Run(t, logtest.Kind{
				New: func(t testing.TB, partitions int) logtest.Topic {
					dir := t.TempDir()
					return logtest.Topic{Open: func(t testing.TB) eventlog.Log {
						l, err := Open(Options{Dir: dir, Partitions: partitions, SegmentBytes: segment, Logger: quiet(t)})
						if err != nil {
							t.Fatal(err)
						}
						return l
					}}
				},
				Lasts: true,
			})
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	_, err := Open(Options{Dir: dir})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d uses the log in %s", os.Getpid(), dir)) {
		t.Errorf("opened twice: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Options{Dir: dir})
}

func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir, Partitions: 3})
	id := l.ID()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Partitions: 4}); err == nil || !strings.Contains(err.Error(), "made with 3 partitions and cannot be opened with 4") {
		t.Errorf("opened with another number of partitions: %v", err)
	}
	l = mustOpen(t, Options{Dir: dir})
	if l.ID() != id || l.Partitions() != 3 {
		t.Errorf("opened again: id %s instead of %s, %d partitions", l.ID(), id, l.Partitions())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if other := mustOpen(t, Options{Dir: t.TempDir()}); other.ID() == id || other.Partitions() != 1 {
		t.Errorf("another log has id %s and %d partitions", other.ID(), other.Partitions())
	}
	for _, content := range []string{"", "{}", `{"format":2,"id":"x","partitions":1}`} {
		if err := os.WriteFile(filepath.Join(dir, "log.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: dir}); err == nil {
			t.Errorf("opened with log.json %q", content)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{}, {Dir: t.TempDir(), Partitions: -1}, {Dir: t.TempDir(), Partitions: 5000}, {Dir: t.TempDir(), SegmentBytes: 10},
	} {
		if l, err := Open(o); err == nil {
			t.Errorf("opened with %+v", o)
			_ = l.Close()
		}
	}
}

// segments returns the names of a partition's segment files, in order.
func segments(t testing.TB, dir string, partition int) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(name(dir, partition), "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestTrim(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := mustOpen(t, Options{Dir: dir, SegmentBytes: 4 << 10, Retention: time.Hour, now: func() time.Time { return now }})
	for i := range 100 {
		mustAppend(t, l, 0, fmt.Sprintf("%0300d", i))
	}
	n := len(segments(t, dir, 0))
	if n < 8 {
		t.Fatalf("only %d segments", n)
	}
	trim := func(offset int64) {
		t.Helper()
		if err := l.Trim(context.Background(), 0, offset); err != nil {
			t.Fatal(err)
		}
	}
	trim(100)
	if got := len(segments(t, dir, 0)); got != n {
		t.Errorf("within the retention: %d segments left of %d", got, n)
	}
	now = now.Add(2 * time.Hour)
	trim(50)
	left := len(segments(t, dir, 0))
	if left >= n || left < n/3 {
		t.Errorf("half trimmed: %d segments left of %d", left, n)
	}
	if got := readAll(t, l, 0, 50); len(got) != 50 || got[0].Offset != 50 {
		t.Errorf("%d records left from offset 50 on", len(got))
	}
	trim(50)
	trim(10)
	if got := len(segments(t, dir, 0)); got != left {
		t.Errorf("trimmed again: %d segments left of %d", got, left)
	}
	trim(1000) // all: what the log has of its offsets must stay
	if got := len(segments(t, dir, 0)); got > 2 {
		t.Errorf("all trimmed: %d segments left", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: dir, SegmentBytes: 4 << 10})
	if first := mustAppend(t, l, 0, "next"); first != 100 {
		t.Errorf("after trimming the next offset is %d", first)
	}
}

func TestTrimmedConsumerIsTold(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 4 << 10, Logger: quiet(t)})
	for i := range 50 {
		mustAppend(t, l, 0, fmt.Sprintf("%0500d", i))
	}
	if err := l.Trim(context.Background(), 0, 40); err != nil {
		t.Fatal(err)
	}
	r := logtest.NewRecorder(t, logtest.NewOffsets())
	logtest.Consume(t, l, "c", r)
	r.Await("the rest", func() bool {
		got := r.Got(0)
		return len(got) > 0 && got[len(got)-1].Offset == 49
	})
	first := r.Got(0)[0].Offset
	if first == 0 || first > 40 {
		t.Fatalf("reading went on at %d", first)
	}
	losses := r.Losses()
	want := fmt.Sprintf("asked for offset 0, the oldest kept is %d", first)
	if len(losses) != 1 || !errors.Is(losses[0], eventlog.ErrTrimmed) || !strings.Contains(losses[0].Error(), want) {
		t.Errorf("told: %v", losses)
	}
}

// A log restored from an older copy ends before what was read from it. New records take the lost ones' offsets, and none
// of them may be skipped.
func TestOlderCopyRestored(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	mustAppend(t, l, 0, "a", "b")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: copied, Logger: quiet(t)})
	mustAppend(t, l, 0, "new c", "new d") // before the consumer comes
	store := logtest.NewOffsets()
	store.Set(0, 5) // it had read three records that are lost
	r := logtest.NewRecorder(t, store)
	logtest.Consume(t, l, "c", r)
	r.AwaitCount(0, 2)
	if got := r.Got(0); got[0] != (logtest.Record{Offset: 2, Value: "new c"}) {
		t.Errorf("reading went on at %v", got[0])
	}
	if losses := r.Losses(); len(losses) != 1 || !errors.Is(losses[0], eventlog.ErrBeyondEnd) {
		t.Errorf("told: %v", losses)
	}
}

func TestGroupTwice(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	r := logtest.NewRecorder(t, logtest.NewOffsets())
	stop := logtest.Consume(t, l, "c", r)
	r.Await("the assignment", func() bool { return len(r.Owned()) == 1 })
	if err := l.Consume(context.Background(), "c", r); err == nil || !strings.Contains(err.Error(), `consumer "c" already reads this log`) {
		t.Errorf("consumed twice: %v", err)
	}
	stop()
	again := logtest.NewRecorder(t, logtest.NewOffsets())
	logtest.Consume(t, l, "c", again)
	again.Await("the assignment", func() bool { return len(again.Owned()) == 1 })
}

func TestAppendTooLarge(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	if _, err := l.AppendBatch(context.Background(), 0, [][]byte{make([]byte, maxEntry)}); err == nil {
		t.Error("an append over the limit succeeded")
	}
	if first := mustAppend(t, l, 0, "a"); first != 0 {
		t.Errorf("the next append got offset %d", first)
	}
}
