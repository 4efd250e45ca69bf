package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// event is one line of `go test -json`: see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	Test       string
	Elapsed    float64
	Output     string
	Key        string // of Action attr
	Value      string
	ImportPath string // of build-output
}

// test is one test or subtest.
type test struct {
	pkg, name string
	action    string // pass, fail, skip; empty: it never ended
	output    []string
	parts     map[string]bool // the real services it ran on, as it said itself by t.Attr("part", …)
	parent    bool            // it has subtests
}

// summary gathers the events of all packages.
type summary struct {
	out    io.Writer
	err    error
	tests  map[[2]string]*test
	build  map[string][]string // output of builds
	broken []string            // packages that failed without a failed test
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, tests: map[[2]string]*test{}, build: map[string][]string{}}
}

func (s *summary) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(s.out, format, args...); err != nil && s.err == nil {
		s.err = err
	}
}

func (s *summary) take(e event) {
	switch {
	case e.Action == "build-output":
		s.build[e.ImportPath] = append(s.build[e.ImportPath], e.Output)
	case e.Action == "build-fail":
		s.printf("%s", strings.Join(s.build[e.ImportPath], ""))
	case e.Test == "":
		s.takePackage(e)
	default:
		s.takeTest(e)
	}
}

func (s *summary) of(pkg, name string) *test {
	k := [2]string{pkg, name}
	if s.tests[k] == nil {
		s.tests[k] = &test{pkg: pkg, name: name, parts: map[string]bool{}}
		if slash := strings.LastIndexByte(name, '/'); slash >= 0 {
			s.of(pkg, name[:slash]).parent = true
		}
	}
	return s.tests[k]
}

func (s *summary) takeTest(e event) {
	t := s.of(e.Package, e.Test)
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "attr":
		if e.Key == "part" {
			t.parts[e.Value] = true
		}
	case "pass", "fail", "skip":
		t.action = e.Action
		if e.Action == "fail" {
			s.printf("%s", strings.Join(t.output, ""))
		}
		if e.Action != "skip" {
			t.output = nil
		}
	}
}

// takePackage takes what is said of a package as a whole.
func (s *summary) takePackage(e event) {
	t := s.of(e.Package, "")
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "pass", "fail", "skip":
		passed, failed, skipped := s.count(e.Package)
		if e.Action == "fail" {
			s.printf("%s%s", s.unfinished(e.Package), strings.Join(t.output, ""))
			if failed == 0 {
				s.broken = append(s.broken, e.Package)
			}
		}
		if passed+failed+skipped > 0 || e.Action == "fail" {
			s.printf("%-4s %s: %d passed, %d failed, %d skipped in %.1f s\n", e.Action, e.Package, passed, failed, skipped, e.Elapsed)
		}
	}
}

// unfinished is the output of the tests that had not ended when the package did.
func (s *summary) unfinished(pkg string) string {
	var b strings.Builder
	for _, t := range s.sorted() {
		if t.pkg == pkg && t.name != "" && t.action == "" {
			b.WriteString(strings.Join(t.output, ""))
		}
	}
	return b.String()
}

func (s *summary) sorted() []*test {
	return slices.SortedFunc(maps.Values(s.tests), func(a, b *test) int {
		return cmp.Or(strings.Compare(a.pkg, b.pkg), strings.Compare(a.name, b.name))
	})
}

// counts reports whether the test is counted: it has no subtests, or it failed itself and none of them did.
func (s *summary) counts(t *test) bool {
	if t.name == "" {
		return false
	}
	if !t.parent {
		return true
	}
	if t.action != "fail" {
		return false
	}
	for _, sub := range s.tests {
		if sub.pkg == t.pkg && sub.action == "fail" && strings.HasPrefix(sub.name, t.name+"/") {
			return false
		}
	}
	return true
}

// count counts the tests of a package; of all with an empty one.
func (s *summary) count(pkg string) (passed, failed, skipped int) {
	for _, t := range s.tests {
		if pkg != "" && t.pkg != pkg || !s.counts(t) {
			continue
		}
		switch t.action {
		case "pass":
			passed++
		case "skip":
			skipped++
		default:
			failed++ // also one that never ended
		}
	}
	return passed, failed, skipped
}

// close prints the closing lines. A package that failed without a failed test counts as one failure.
func (s *summary) close() (passed, failed int) {
	passed, failed, skipped := s.count("")
	failed += len(s.broken)
	s.printf("\nThe tests that passed ran on:\n")
	parts := map[string]int{}
	for _, t := range s.tests {
		if t.action == "pass" && s.counts(t) {
			for _, p := range s.partsOf(t) {
				parts[p]++
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(parts)) {
		s.printf("%6d  %s\n", parts[p], p)
	}
	s.printSkipped()
	if failed > 0 {
		s.printf("Failed:\n")
		for _, t := range s.sorted() {
			if s.counts(t) && t.action != "pass" && t.action != "skip" {
				s.printf("        %s %s\n", t.pkg, t.name)
			}
		}
		for _, pkg := range s.broken {
			s.printf("        %s\n", pkg)
		}
	}
	s.printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return passed, failed
}

// partsOf is what a test ran on: what it or a test around it has named.
func (s *summary) partsOf(t *test) []string {
	all := maps.Clone(t.parts)
	for name := t.name; ; {
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			break
		}
		name = name[:slash]
		maps.Copy(all, s.of(t.pkg, name).parts)
	}
	if len(all) == 0 {
		return []string{"nothing but this process"}
	}
	return slices.Sorted(maps.Keys(all))
}

// printSkipped says what was absent and which tests did not run for it, and which left themselves out for another reason.
func (s *summary) printSkipped() {
	absent, other := map[string][]string{}, map[string][]string{}
	for _, t := range s.sorted() {
		if t.action != "skip" || !s.counts(t) {
			continue
		}
		to := other
		r := reason(t.output)
		if strings.HasPrefix(r, "SKIPPED") || strings.HasPrefix(r, "MISSING") {
			to = absent
		}
		to[r] = append(to[r], t.pkg[strings.LastIndexByte(t.pkg, '/')+1:]+"."+t.name)
	}
	if len(absent) == 0 {
		s.printf("Nothing was absent.\n")
	} else {
		s.printf("Absent, so NOT run:\n")
		s.printReasons(absent)
	}
	if len(other) > 0 {
		s.printf("Left themselves out, as they do not apply:\n")
		s.printReasons(other)
	}
}

func (s *summary) printReasons(tests map[string][]string) {
	for _, r := range slices.Sorted(maps.Keys(tests)) {
		s.printf("%6d  %s\n        %s\n", len(tests[r]), r, strings.Join(tests[r], " "))
	}
}

// reason is what a skipped test gave as one.
func reason(output []string) string {
	where := regexp.MustCompile(`^\s+\S+\.go:\d+: `)
	for _, line := range output {
		if at := where.FindString(line); at != "" {
			return strings.TrimSpace(line[len(at):])
		}
	}
	return "no reason given"
}
