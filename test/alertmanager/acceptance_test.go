package alertmanager_test

import (
	"fmt"
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

// TestMain makes the test binary an alertmanager where it is called by that name.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) != "alertmanager" {
		os.Exit(m.Run())
	}
	if err := runAdapter(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "adapter:", err)
		os.Exit(1)
	}
}

// TestAlertmanagersOwnAcceptanceTests runs them as they are. Those that docs/alertmanager-acceptance.md says we do not pass are the only
// ones that may fail.
func TestAlertmanagersOwnAcceptanceTests(t *testing.T) {
	compareWithPage(t, "acceptance.test", runSuite(t, "acceptance.test"))
}

// TestAlertmanagersOwnTestsOfAmtool runs those too.
func TestAlertmanagersOwnTestsOfAmtool(t *testing.T) {
	compareWithPage(t, "cli.test", runSuite(t, "cli.test"))
}

// runSuite runs a compiled suite against adapters and returns each test with whether it passed.
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
	ourselves, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"alertmanager": ourselves, "amtool": filepath.Join(programs, "amtool")} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs, suite), "-test.v", "-test.parallel=6", "-test.timeout=8m")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), houseVariable+"="+house, "TMPDIR="+t.TempDir(), "HOME="+t.TempDir())
	said, err := cmd.CombinedOutput()
	results := map[string]bool{}
	for _, found := range regexp.MustCompile(`(?m)^--- (PASS|FAIL): (\w+)`).FindAllStringSubmatch(string(said), -1) {
		results[found[2]] = found[1] == "PASS"
	}
	for _, started := range regexp.MustCompile(`(?m)^=== RUN   (\w+)$`).FindAllStringSubmatch(string(said), -1) {
		results[started[1]] = results[started[1]] // one that never ended has failed
	}
	if len(results) == 0 {
		t.Fatalf("no test ran: %v\n%s", err, said)
	}
	if file := os.Getenv("TOKIFLOW_ACCEPTANCE_LOG"); file != "" {
		if err := os.WriteFile(file+"."+suite, said, 0o600); err != nil {
			t.Error(err)
		}
	}
	return results
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
