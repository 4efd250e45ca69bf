// Command summary reads what `go test -json` prints and says what came of it: the output of what failed, a line for each
// package, how many tests ran on which real parts, what was skipped and why, and at last the count. It leaves with status 1
// unless at least one test passed and none failed. Only tests without subtests are counted; a skipped one is never green.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "summary:", err)
		os.Exit(1)
	}
}

// run reads events until their end. Lines that are no events are passed on: they are what the build said.
func run(in io.Reader, out io.Writer) error {
	s := newSummary(out)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if len(lines.Bytes()) == 0 || lines.Bytes()[0] != '{' || json.Unmarshal(lines.Bytes(), &e) != nil {
			s.printf("%s\n", lines.Text())
			continue
		}
		s.take(e)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	passed, failed := s.close()
	switch {
	case s.err != nil:
		return s.err
	case failed > 0:
		return fmt.Errorf("%d failed", failed)
	case passed == 0:
		return fmt.Errorf("no test ran")
	}
	return nil
}
