package disklog

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// childDir is the variable by which the test binary, run again, knows that it is to append until it is killed.
const childDir = "TOKIFLOW_DISKLOG_CHILD"

// appendForever appends numbered records in batches of many sizes and says on stdout which were answered for.
func appendForever(dir string) int {
	l, err := Open(Options{Dir: dir, SegmentBytes: 256 << 10})
	if err != nil {
		fmt.Println("ERROR", err)
		return 1
	}
	n, _ := l.End(context.Background(), 0)
	out := bufio.NewWriter(os.Stdout)
	for {
		values := make([][]byte, 1+rand.IntN(40))
		for i := range values {
			values[i] = killValue(n + int64(i))
		}
		first, err := l.AppendBatch(context.Background(), 0, values)
		if err != nil || first != n {
			fmt.Println("ERROR", first, n, err)
			return 1
		}
		n += int64(len(values))
		fmt.Fprintln(out, n)
		if err := out.Flush(); err != nil {
			return 1
		}
		if rand.IntN(20) == 0 { // trimming is part of life
			if err := l.Trim(context.Background(), 0, max(0, n-5000)); err != nil {
				fmt.Println("ERROR", err)
				return 1
			}
		}
	}
}

// killValue is the content of the record at an offset.
func killValue(offset int64) []byte {
	return bytes.Repeat([]byte(strconv.FormatInt(offset, 10)+" "), 1+int(offset%29))
}

// TestKill kills a process that appends, at random moments, 25 times, and looks each time whether every record it
// answered for is there, once, in its place.
func TestKill(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	dir := t.TempDir()
	answered := int64(0)
	cut := 0
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^$") //nolint:gosec,noctx // ourselves; it is killed below
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(30+rand.IntN(250)) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		for line := range strings.Lines(out.String()) {
			if !strings.HasSuffix(line, "\n") {
				break
			}
			n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
			if err != nil {
				t.Fatalf("round %d: the child says %q", round, line)
			}
			answered = n
		}
		l := mustOpen(t, Options{Dir: dir, SegmentBytes: 256 << 10})
		end, _ := l.End(context.Background(), 0)
		if end < answered {
			t.Fatalf("round %d: %d records were answered for, the log ends at %d", round, answered, end)
		}
		if end > answered {
			cut++
		}
		first := int64(0)
		if err := l.parts[0].withChain(func(c *chain) error {
			if c.first() > 0 {
				h, err := l.parts[0].head(c, c.first())
				first = h.base
				return err
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if first > max(0, answered-5000) {
			t.Fatalf("round %d: trimmed up to %d of %d", round, first, answered)
		}
		for i, rec := range readAll(t, l, 0, first) {
			if rec.Offset != first+int64(i) || rec.Value != string(killValue(rec.Offset)) {
				t.Fatalf("round %d: record %d is %d: %.40q", round, first+int64(i), rec.Offset, rec.Value)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		answered = end // what is in the log is durable now
	}
	t.Logf("%d rounds, %d records; %d times the last append was there without its answer", rounds, answered, cut)
}
