package disklog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/infra/eventlog/logtest"
)

// written is a closed log with one unsealed segment, to be damaged.
type written struct {
	dir    string
	size   int              // of a segment
	file   string           // its segment
	bytes  []byte           // of the segment
	list   []byte           // of segments.json
	used   int              // bytes of it that were written
	values []logtest.Record // what was answered for
	last   int              // how many records the last append had
}

func writeLog(t *testing.T) written { return write(t, 16<<10) }

// writeFull writes until the segment is full, so that the last append also holds the segment's index.
func writeFull(t *testing.T) written { return write(t, 4<<10) }

func write(t *testing.T, size int) written {
	t.Helper()
	w := written{dir: memDir(t), size: size}
	l := mustOpen(t, Options{Dir: w.dir, SegmentBytes: size})
	full := func() bool {
		full, _, err := l.parts[0].chain.tail.Sealed()
		return full || err != nil
	}
	for i := 0; i < 10 || size < 8<<10 && !full(); i++ {
		var batch []string
		for j := range 1 + i%3 {
			// A body that holds what looks like frames, commits and entries.
			batch = append(batch, fmt.Sprintf("%d.%d\x03\x00\x00\x00\x00\x00\x00\x00\x01\x00%s", i, j, entryMagic+strings.Repeat("x", i%10*5)))
		}
		first := mustAppend(t, l, 0, batch...)
		for j, v := range batch {
			w.values = append(w.values, logtest.Record{Offset: first + int64(j), Value: v})
		}
		w.last = len(batch)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files := segments(t, w.dir, 0)
	if len(files) != 1 {
		t.Fatalf("%d segments", len(files))
	}
	w.file = files[0]
	var err error
	if w.bytes, err = os.ReadFile(w.file); err != nil {
		t.Fatal(err)
	}
	if w.list, err = os.ReadFile(w.listFile()); err != nil {
		t.Fatal(err)
	}
	w.used = len(bytes.TrimRight(w.bytes, "\x00"))
	return w
}

func (w *written) listFile() string { return filepath.Join(filepath.Dir(w.file), "segments.json") }

// damaged opens the log with another content of its segment, and returns what can be read, and how many records were cut.
func (w *written) damaged(t *testing.T, content []byte) (got []logtest.Record, err error) {
	t.Helper()
	for _, file := range segments(t, w.dir, 0) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(w.file, content, 0o600), os.WriteFile(w.listFile(), w.list, 0o600)); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Options{Dir: w.dir, SegmentBytes: w.size})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	got = readAll(t, l, 0, 0)
	// What it takes next comes right behind, and is there when it is opened again.
	if first := mustAppend(t, l, 0, "next"); first != int64(len(got)) {
		t.Errorf("after %d records the next offset is %d", len(got), first)
	}
	if again := readAll(t, l, 0, 0); len(again) != len(got)+1 || again[len(got)].Value != "next" {
		t.Errorf("after %d records %d are readable", len(got), len(again))
	}
	return got, nil
}

// memDir is a temporary folder in memory where there is one: these tests open the log thousands of times.
func memDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "tokiflow-disklog-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// prefix reports whether got is what was written, less some whole appends at the end.
func (w *written) prefix(got []logtest.Record) bool {
	if len(got) > len(w.values) {
		return false
	}
	for i := range got {
		if got[i] != w.values[i] {
			return false
		}
	}
	return true
}

// A power loss may leave any part of the last append: cut off, or zeros where blocks were not written.
func TestTornTail(t *testing.T) {
	for segment, w := range map[string]written{"open segment": writeLog(t), "full segment": writeFull(t)} {
		end := len(w.values) - w.last
		lastEntry := w.start(t)
		for name, tear := range map[string]func(p int) []byte{
			"cut off": func(p int) []byte { return w.bytes[:p] },
			"zeros":   func(p int) []byte { return append(bytes.Clone(w.bytes[:p]), make([]byte, len(w.bytes)-p)...) },
			"garbage": func(p int) []byte { return append(bytes.Clone(w.bytes[:p]), bytes.Repeat([]byte{0x55}, 100)...) },
			"hole": func(p int) []byte { // an earlier block is missing and a later one was written
				b := bytes.Clone(w.bytes)
				clear(b[lastEntry:p])
				return b
			},
		} {
			t.Run(segment+"/"+name, func(t *testing.T) {
				for p := lastEntry + 1; p < w.used; p++ {
					got, err := w.damaged(t, tear(p))
					if err != nil {
						t.Fatalf("at byte %d of %d: %v", p, w.used, err)
					}
					if len(got) != end || !w.prefix(got) {
						t.Fatalf("at byte %d of %d: %d records are left instead of %d", p, w.used, len(got), end)
					}
				}
			})
		}
	}
}

// start is where the frame of the last append begins.
func (w *written) start(t *testing.T) int {
	t.Helper()
	var id identity
	b, err := os.ReadFile(filepath.Join(w.dir, "log.json"))
	if err == nil {
		err = json.Unmarshal(b, &id)
	}
	if err != nil {
		t.Fatal(err)
	}
	start := 0
	for p := range w.used {
		if _, err := parseHead(w.bytes[p:], seed(id.ID, 0)); err == nil {
			start = p - frameHeader
		}
	}
	return start
}

// The whole file torn at every byte: what is left is a prefix of whole appends.
func TestTornAnywhere(t *testing.T) {
	for step, w := range map[int]written{1: writeLog(t), 7: writeFull(t)} {
		for p := 0; p < w.used; p += step {
			got, err := w.damaged(t, w.bytes[:p])
			if err != nil {
				t.Fatalf("at byte %d: %v", p, err)
			}
			if !w.prefix(got) {
				t.Fatalf("at byte %d: %d records, not those that were written", p, len(got))
			}
		}
	}
}

// A wrong byte anywhere is never handed to a consumer, and never makes more than the last append disappear without an
// error that names the file.
func TestWrongByte(t *testing.T) {
	t.Run("open segment", func(t *testing.T) { testWrongByte(t, writeLog(t), 1) })
	t.Run("full segment", func(t *testing.T) { testWrongByte(t, writeFull(t), 5) })
}

func testWrongByte(t *testing.T, w written, step int) {
	refused, harmless, cut := 0, 0, 0
	for p := 0; p < w.used; p += step {
		for _, flip := range []byte{0x01, 0x41 << (p % 2)} {
			b := bytes.Clone(w.bytes)
			b[p] ^= flip
			got, err := w.damaged(t, b)
			switch {
			case err != nil:
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), filepath.Base(w.file)) {
					t.Fatalf("byte %d: %v", p, err)
				}
				refused++
			case !w.prefix(got):
				t.Fatalf("byte %d: records that were never written", p)
			case len(got) == len(w.values):
				harmless++ // padding, or a checksum that nobody needs any more
			case len(got) == len(w.values)-w.last:
				cut++ // the last append: not to be told from a torn one
			default:
				t.Fatalf("byte %d: %d of %d records are gone without a word", p, len(w.values)-len(got), len(w.values))
			}
		}
	}
	t.Logf("of %d wrong bytes %d were refused, %d did no harm, %d cut the last append", refused+harmless+cut, refused, harmless, cut)
	if refused == 0 || cut == 0 {
		t.Error("the test tests nothing")
	}
}

// Damage in a sealed segment stops the consumer with an error, and nothing is misread.
func TestWrongByteInSealedSegment(t *testing.T) {
	dir := memDir(t)
	l := mustOpen(t, Options{Dir: dir, SegmentBytes: 4 << 10})
	for i := range 40 {
		mustAppend(t, l, 0, fmt.Sprintf("%0200d", i))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	file := segments(t, dir, 0)[0]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	stopped := 0
	for p := 0; p < len(bytes.TrimRight(b, "\x00")); p += 3 {
		broken := bytes.Clone(b)
		broken[p] ^= 0x41
		if err := os.WriteFile(file, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(Options{Dir: dir, SegmentBytes: 4 << 10})
		if err != nil {
			stopped++
			continue
		}
		got, err := tryReadAll(l, 0, 0)
		for i, rec := range got {
			if rec.Offset != int64(i) || rec.Value != fmt.Sprintf("%0200d", i) {
				t.Fatalf("byte %d: record %d is misread", p, i)
			}
		}
		if err != nil {
			stopped++
			if !strings.Contains(err.Error(), filepath.Base(file)) {
				t.Fatalf("byte %d: the error does not name the file: %v", p, err)
			}
		} else if len(got) != 40 {
			t.Fatalf("byte %d: %d records without an error", p, len(got))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if stopped == 0 {
		t.Error("the test tests nothing")
	}
}

func TestDamagedList(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	mustAppend(t, l, 0, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(name(dir, 0), "segments.json")
	b, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	for p := range b {
		broken := bytes.Clone(b)
		broken[p] ^= 1
		if err := os.WriteFile(list, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), list) {
			t.Fatalf("byte %d: %v", p, err)
		}
	}
}

// Another log's segment is not taken for ours.
func TestForeignSegment(t *testing.T) {
	a, b := writeLog(t), writeLog(t)
	if _, err := a.damaged(t, b.bytes); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened with another log's segment: %v", err)
	}
}

func FuzzParseEntry(f *testing.F) {
	f.Add(appendEntry(nil, 7, 0, [][]byte{[]byte("a")}))
	f.Add(appendEntry(nil, 7, 1<<40, [][]byte{{}, []byte("abc"), bytes.Repeat([]byte{9}, 300)}))
	f.Add([]byte(entryMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= entryHeader { // no fuzzer finds a checksum
			b = append([]byte(entryMagic), b[len(entryMagic):]...)
			binary.LittleEndian.PutUint32(b[12:], uint32(len(b)-16))
			binary.LittleEndian.PutUint32(b[8:], crc32.Update(7, castagnoli(), b[12:]))
		}
		recs, err := parseEntry(nil, b, 7)
		if err != nil {
			return
		}
		values := make([][]byte, len(recs))
		for i, r := range recs {
			values[i] = r.Value
		}
		again, err := parseEntry(nil, appendEntry(nil, 7, recs[0].Offset, values), 7)
		if d := cmp.Diff(recs, again, cmpopts.EquateEmpty()); err != nil || d != "" {
			t.Errorf("% x is read as %v, and written and read again as %v, %v", b, recs, again, err)
		}
	})
}

func TestEntry(t *testing.T) {
	values := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("x"), 1000)}
	b := appendEntry([]byte("before"), 7, 41, values)[len("before"):]
	recs, err := parseEntry([]record.Entry{{Offset: 40}}, b, 7)
	if err != nil || len(recs) != 4 {
		t.Fatalf("%d records, %v", len(recs), err)
	}
	for i, v := range values {
		if r := recs[i+1]; r.Offset != int64(41+i) || !bytes.Equal(r.Value, v) {
			t.Errorf("record %d: offset %d, %q", i, r.Offset, r.Value)
		}
	}
	if _, err := parseEntry(nil, b, 8); !errors.Is(err, errDamaged) {
		t.Errorf("read with another seed: %v", err)
	}
	for p := range b {
		if _, err := parseEntry(nil, b[:p], 7); !errors.Is(err, errDamaged) {
			t.Fatalf("%d of %d bytes: %v", p, len(b), err)
		}
	}
	if seed("a", 0) == seed("a", 1) || seed("a", 0) == seed("b", 0) {
		t.Error("seeds are alike")
	}
}
