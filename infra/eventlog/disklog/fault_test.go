package disklog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft-wal/types"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
)

// faultyFiles is a file system that fails when told to.
type faultyFiles struct {
	osFiles
	mu     sync.Mutex
	sync   error // of Sync, after the write went through
	write  error // of WriteAt, after half of the bytes
	create error
	opened int // files opened for writing that existed
}

func (f *faultyFiles) set(change func(f *faultyFiles)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faultyFiles) heal() {
	f.set(func(f *faultyFiles) { f.sync, f.write, f.create = nil, nil, nil })
}

func (f *faultyFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f.mu.Lock()
	err := f.create
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	w, err := f.osFiles.Create(dir, name, size)
	return &faultyFile{w, f}, err
}

func (f *faultyFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f.set(func(f *faultyFiles) { f.opened++ })
	w, err := f.osFiles.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{w, f}, nil
}

type faultyFile struct {
	types.WritableFile
	f *faultyFiles
}

func (w *faultyFile) Sync() error {
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	if w.f.sync != nil {
		return w.f.sync
	}
	return w.WritableFile.Sync()
}

func (w *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	w.f.mu.Lock()
	err := w.f.write
	w.f.mu.Unlock()
	if err != nil {
		n, writeErr := w.WritableFile.WriteAt(p[:len(p)/2], off)
		return n, errors.Join(err, writeErr)
	}
	return w.WritableFile.WriteAt(p, off)
}

// TestFaults lets the disk fail in every way, repeatedly, at an open and at a full segment: an append that failed is not
// in the log, one that succeeded is, and what was read before stays readable meanwhile.
func TestFaults(t *testing.T) {
	broken := errors.New("input/output error")
	for name, fail := range map[string]func(f *faultyFiles){
		"sync":   func(f *faultyFiles) { f.sync = broken },
		"write":  func(f *faultyFiles) { f.write = broken },
		"create": func(f *faultyFiles) { f.create = broken },
		"all":    func(f *faultyFiles) { f.sync, f.write, f.create = broken, broken, broken },
	} {
		t.Run(name, func(t *testing.T) {
			dir := memDir(t)
			files := &faultyFiles{}
			o := Options{Dir: dir, SegmentBytes: 4 << 10, Logger: quiet(t), files: files}
			l := mustOpen(t, o)
			var want []string
			failed := 0
			for i := range 150 {
				if i%4 == 3 {
					files.set(fail)
					for range 3 {
						v := fmt.Sprintf("refused %d %0200d", i, failed)
						if _, err := l.AppendBatch(context.Background(), 0, [][]byte{[]byte(v), []byte(v)}); err != nil {
							failed++
							if !errors.Is(err, broken) || !strings.Contains(err.Error(), dir) {
								t.Fatalf("append %d: %v", i, err)
							}
							if got := readAll(t, l, 0, 0); len(got) != len(want) {
								t.Fatalf("append %d: %d records readable instead of %d", i, len(got), len(want))
							}
						} else {
							want = append(want, v, v)
						}
					}
					files.heal()
				}
				v := fmt.Sprintf("%d %0400d", i, i)
				if first := mustAppend(t, l, 0, v); first != int64(len(want)) {
					t.Fatalf("append %d got offset %d instead of %d", i, first, len(want))
				}
				want = append(want, v)
			}
			if failed < 10 {
				t.Errorf("only %d appends failed", failed)
			}
			check := func(l *Log) {
				t.Helper()
				got := readAll(t, l, 0, 0)
				if len(got) != len(want) {
					t.Fatalf("%d records instead of %d", len(got), len(want))
				}
				for i, rec := range got {
					if rec.Offset != int64(i) || rec.Value != want[i] {
						t.Fatalf("record %d is %d %.30q instead of %.30q", i, rec.Offset, rec.Value, want[i])
					}
				}
			}
			check(l)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			check(mustOpen(t, Options{Dir: dir}))
		})
	}
}

// A failed fsync is reported once by the kernel, and may have dropped what was written: the log must not go on as if the
// next fsync covered it.
func TestFailedSyncIsNotForgotten(t *testing.T) {
	files := &faultyFiles{}
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir, files: files, Logger: quiet(t)})
	mustAppend(t, l, 0, "a")
	before := segments(t, dir, 0)
	files.set(func(f *faultyFiles) { f.sync = errors.New("input/output error") })
	if _, err := l.AppendBatch(context.Background(), 0, [][]byte{[]byte("written, not synced")}); err == nil {
		t.Fatal("an append without fsync was answered for")
	}
	files.heal()
	if first := mustAppend(t, l, 0, "b"); first != 1 {
		t.Errorf("the next append got offset %d", first)
	}
	if files.opened == 0 {
		t.Error("the log was not opened anew")
	}
	if after := segments(t, dir, 0); len(after) != len(before)+1 {
		t.Errorf("it went on in the same file: %v", after)
	}
	if got := readAll(t, l, 0, 0); len(got) != 2 || got[1].Value != "b" {
		t.Errorf("the log holds %v", got)
	}
}

func TestConsumerReadsOnWhileAppendsFail(t *testing.T) {
	files := &faultyFiles{}
	l := mustOpen(t, Options{Dir: t.TempDir(), SegmentBytes: 4 << 10, files: files, Logger: quiet(t)})
	for i := range 30 {
		mustAppend(t, l, 0, fmt.Sprintf("%0300d", i))
	}
	files.set(func(f *faultyFiles) { f.write = errors.New("input/output error") })
	if _, err := l.AppendBatch(context.Background(), 0, [][]byte{[]byte("x")}); err == nil {
		t.Fatal("an append succeeded")
	}
	r := logtest.NewRecorder(t, logtest.NewOffsets())
	logtest.Consume(t, l, "c", r)
	r.AwaitCount(0, 30)
	files.heal()
	mustAppend(t, l, 0, "again")
	r.AwaitCount(0, 31)
}

// TestDiskFull fills a small file system for real.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t, 3<<20)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, Options{Dir: filepath.Join(dir, "log"), SegmentBytes: 128 << 10, Logger: quiet(t)})
	a := eventlog.NewAppender(l, eventlog.AppenderOptions{AppendTimeout: 300 * time.Millisecond, Logger: quiet(t)})
	r := logtest.NewRecorder(t, logtest.NewOffsets())
	logtest.Consume(t, l, "c", r)

	answered := map[uint64]bool{}
	n := uint64(0)
	appendOne := func() error {
		n++
		_, err := a.Append(context.Background(), 0, logtest.Ping(n))
		if err == nil {
			answered[n] = true
		}
		return err
	}
	fill := func() {
		t.Helper()
		for range 100_000 {
			if err := appendOne(); err != nil {
				if !errors.Is(err, eventlog.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no room left for the log in "+dir) {
					t.Fatalf("on a full disk: %v", err)
				}
				return
			}
		}
		t.Fatal("the disk does not fill")
	}
	fill()
	if err := a.Healthy(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Healthy: %v", err)
	}
	full := len(answered)
	if err := appendOne(); err == nil {
		t.Log("there was room for one more")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := appendOne(); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	fill() // and once more, with what the removal gave
	if len(answered) < full+1000 {
		t.Errorf("%d appends with room again", len(answered)-full)
	}
	end, err := l.End(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	r.AwaitCount(0, int(end))
	check := func(recs []logtest.Record) {
		t.Helper()
		seen := map[uint64]bool{}
		for i, rec := range recs {
			k := logtest.Number([]byte(rec.Value))
			if rec.Offset != int64(i) || seen[k] {
				t.Fatalf("record %d has offset %d and number %d", i, rec.Offset, k)
			}
			seen[k] = true
		}
		for k := range answered {
			if !seen[k] {
				t.Fatalf("ping %d was answered for and is lost", k)
			}
		}
		t.Logf("%d answered for, %d in the log", len(answered), len(recs))
	}
	check(r.Got(0))
	// Trimming makes room, too.
	if err := l.Trim(context.Background(), 0, end); err != nil {
		t.Fatal(err)
	}
	if err := appendOne(); err != nil {
		t.Errorf("after trimming: %v", err)
	}
}

// smallDisk mounts a file system of so many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("MISSING PRIVILEGE: a small file system cannot be mounted (%v): run as root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

// A damaged entry stops its consumer, and the others go on.
func TestCorruptPartitionStopsAlone(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir, Partitions: 2, SegmentBytes: 4 << 10})
	for i := range 40 {
		mustAppend(t, l, 0, fmt.Sprintf("%0200d", i))
		mustAppend(t, l, 1, fmt.Sprintf("%0200d", i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := segments(t, dir, 0)[1]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 0xff
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: dir, Logger: quiet(t)})
	r := logtest.NewRecorder(t, logtest.NewOffsets())
	assigned := 0
	r.OnAssign(func(int) error { assigned++; return nil })
	r.OnBatch(func(int, []record.Entry) error { return nil })
	logtest.Consume(t, l, "c", r)
	r.AwaitCount(1, 40)
	mustAppend(t, l, 0, "appends go on")
	if n := len(r.Got(0)); n >= 40 {
		t.Errorf("%d records of the damaged partition", n)
	}
}
