package alertmanager_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/test/services"
)

// TestAlertmanagersOwnAcceptanceTests runs them as they are. Those that docs/alertmanager-acceptance.md says we do not pass are the only
// ones that may fail.
func TestAlertmanagersOwnAcceptanceTests(t *testing.T) {
	compareWithPage(t, "acceptance.test", runSuite(t, "acceptance.test"))
}

// TestAlertmanagersOwnTestsOfAmtool runs those too.
func TestAlertmanagersOwnTestsOfAmtool(t *testing.T) {
	compareWithPage(t, "cli.test", runSuite(t, "cli.test"))
}

// runSuite runs a compiled suite against adapters and returns each test with whether it passed. Those that did not run again, twice, by
// themselves: they look at the clock, with tolerances of 150 ms, and the machine may have been busy.
func runSuite(t *testing.T, suite string) map[string]bool {
	t.Helper()
	programs := services.AlertmanagerTests(t)
	house := startHouse(t)
	// They look for the programs three folders above their own.
	root := t.TempDir()
	folder := filepath.Join(root, "test", "suite", "acceptance")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	// Built as a program: it is to be as quick with the race detector in this test as without, and to know its modules' versions.
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(root, "alertmanager"), "./adapter")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the adapter: %v\n%s", err, said)
	}
	if err := os.Symlink(filepath.Join(programs, "amtool"), filepath.Join(root, "amtool")); err != nil {
		t.Fatal(err)
	}
	run := func(which string, parallel int) map[string]bool {
		cmd := exec.CommandContext(t.Context(), filepath.Join(programs, suite), "-test.v", "-test.timeout=8m",
			"-test.run="+which, fmt.Sprintf("-test.parallel=%d", parallel))
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "TOKIFLOW_ADAPTER_HOUSE="+house, "TMPDIR="+t.TempDir(), "HOME="+t.TempDir())
		said, err := cmd.CombinedOutput()
		results := resultsOf(string(said))
		if len(results) == 0 {
			t.Fatalf("no test ran: %v\n%s", err, said)
		}
		keepLog(t, suite, said)
		return results
	}
	results := run(".", 6)
	for range 2 {
		var failed []string
		for name, ok := range results {
			if !ok {
				failed = append(failed, name)
			}
		}
		if len(failed) == 0 {
			break
		}
		slices.Sort(failed)
		t.Logf("once more: %v", failed)
		maps.Copy(results, run("^("+strings.Join(failed, "|")+")$", 1))
	}
	return results
}

// resultsOf reads which tests a suite has run and which of them passed. One that began and never ended has failed.
func resultsOf(said string) map[string]bool {
	results := map[string]bool{}
	for _, started := range regexp.MustCompile(`(?m)^=== RUN   (\w+)$`).FindAllStringSubmatch(said, -1) {
		results[started[1]] = false
	}
	for _, found := range regexp.MustCompile(`(?m)^--- (PASS|FAIL): (\w+)`).FindAllStringSubmatch(said, -1) {
		results[found[2]] = found[1] == "PASS"
	}
	return results
}

// keepLog appends what a suite said to the file of TOKIFLOW_ACCEPTANCE_LOG, where somebody wants to read it.
func keepLog(t *testing.T, suite string, said []byte) {
	t.Helper()
	name := os.Getenv("TOKIFLOW_ACCEPTANCE_LOG")
	if name == "" {
		return
	}
	f, err := os.OpenFile(name+"."+suite, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(said)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}

// compareWithPage holds the results to the page's table of the suite: | Test | passes or misses | … |.
func compareWithPage(t *testing.T, suite string, results map[string]bool) {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "alertmanager-acceptance.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(page), "<!-- "+suite+" -->")
	section, _, end := strings.Cut(section, "<!-- end -->")
	if !found || !end {
		t.Fatalf("the page has no table of %s", suite)
	}
	var want, got []string
	passed, written := 0, 0
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (passes|misses) \\| (.*) \\|$").FindAllStringSubmatch(section, -1) {
		want = append(want, row[1])
		passes := row[2] == "passes"
		if passes {
			written++
		}
		if passes != results[row[1]] {
			t.Errorf("%s passes: %v; the page says: %s", row[1], results[row[1]], row[2])
		}
		if !passes && strings.TrimSpace(row[3]) == "" {
			t.Errorf("the page does not say why %s is missed", row[1])
		}
	}
	for name, ok := range results {
		got = append(got, name)
		if ok {
			passed++
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the page's tests and those there are (-page +suite):\n%s", d)
	}
	if sum := fmt.Sprintf("%d of %d", written, len(want)); !strings.Contains(section, sum) {
		t.Errorf("the page does not say %q", sum)
	}
	t.Logf("%d of %d tests of %s pass", passed, len(results), suite)
}
