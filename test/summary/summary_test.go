package main

import (
	"strings"
	"testing"
)

const events = `# some build noise
{"Action":"start","Package":"m/a"}
{"Action":"output","Package":"m/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"attr","Package":"m/a","Test":"TestOne","Key":"part","Value":"PostgreSQL"}
{"Action":"pass","Package":"m/a","Test":"TestOne","Elapsed":0.1}
{"Action":"attr","Package":"m/a","Test":"TestMany","Key":"part","Value":"Kafka"}
{"Action":"pass","Package":"m/a","Test":"TestMany/x","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestMany/y","Output":"    a_test.go:3: SKIPPED, NOT RUN: TimescaleDB\n"}
{"Action":"skip","Package":"m/a","Test":"TestMany/y","Elapsed":0}
{"Action":"pass","Package":"m/a","Test":"TestMany","Elapsed":0}
{"Action":"pass","Package":"m/a","Test":"TestPlain","Elapsed":0}
{"Action":"output","Package":"m/a","Test":"TestOther","Output":"    a_test.go:9: one process has it alone\n"}
{"Action":"skip","Package":"m/a","Test":"TestOther","Elapsed":0}
{"Action":"pass","Package":"m/a","Elapsed":1.2}
{"Action":"skip","Package":"m/none","Elapsed":0}
`

func summarise(t *testing.T, text string) (string, error) {
	t.Helper()
	var b strings.Builder
	err := run(strings.NewReader(text), &b)
	return b.String(), err
}

func TestClosingLines(t *testing.T) {
	t.Parallel()
	got, err := summarise(t, events)
	if err != nil {
		t.Error(err)
	}
	want := `# some build noise
pass m/a: 3 passed, 0 failed, 2 skipped in 1.2 s

The tests that passed ran on:
     1  Kafka
     1  PostgreSQL
     1  nothing but this process
Absent, so NOT run:
     1  SKIPPED, NOT RUN: TimescaleDB
        a.TestMany/y
Left themselves out, as they do not apply:
     1  one process has it alone
        a.TestOther
3 passed, 0 failed, 2 skipped
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWhatIsNotGreen(t *testing.T) {
	t.Parallel()
	f := func(name, events string, lines ...string) {
		t.Helper()
		got, err := summarise(t, events)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		for _, l := range lines {
			if !strings.Contains(got, l) {
				t.Errorf("%s: %q is missing in\n%s", name, l, got)
			}
		}
	}
	f("nothing ran", ``, "0 passed, 0 failed, 0 skipped")
	f("all skipped", `{"Action":"skip","Package":"p","Test":"T"}`, "0 passed, 0 failed, 1 skipped", "no reason given")
	f("a failed test", events+`
{"Action":"output","Package":"m/b","Test":"TestBad","Output":"    b_test.go:1: broken\n"}
{"Action":"fail","Package":"m/b","Test":"TestBad"}
{"Action":"fail","Package":"m/b","Elapsed":1}`, "b_test.go:1: broken", "m/b TestBad", "3 passed, 1 failed, 2 skipped")
	f("a failed subtest counts once", `
{"Action":"fail","Package":"m/b","Test":"TestBad/sub"}
{"Action":"fail","Package":"m/b","Test":"TestBad"}
{"Action":"fail","Package":"m/b"}`, "0 passed, 1 failed, 0 skipped")
	f("a parent that fails by itself", `
{"Action":"pass","Package":"m/b","Test":"TestBad/sub"}
{"Action":"fail","Package":"m/b","Test":"TestBad"}
{"Action":"fail","Package":"m/b"}`, "1 passed, 1 failed, 0 skipped")
	f("a build that fails", `
{"Action":"build-output","ImportPath":"m/b [m/b.test]","Output":"b.go:1: syntax error\n"}
{"Action":"build-fail","ImportPath":"m/b [m/b.test]"}
{"Action":"output","Package":"m/b","Output":"FAIL m/b [build failed]\n"}
{"Action":"fail","Package":"m/b"}`, "syntax error", "0 passed, 1 failed, 0 skipped", "        m/b\n")
	f("a panic that ends the process", `
{"Action":"pass","Package":"m/b","Test":"TestGood"}
{"Action":"output","Package":"m/b","Test":"TestPanics","Output":"panic: oh\n"}
{"Action":"fail","Package":"m/b"}`, "panic: oh", "1 passed, 1 failed, 0 skipped", "m/b TestPanics")
	f("a leak seen by TestMain", `
{"Action":"pass","Package":"m/b","Test":"TestGood"}
{"Action":"output","Package":"m/b","Output":"goleak: Errors\n"}
{"Action":"fail","Package":"m/b"}`, "goleak: Errors", "1 passed, 1 failed, 0 skipped")
}
