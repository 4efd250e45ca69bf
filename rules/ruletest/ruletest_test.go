package ruletest_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/rules/ruletest"
)

// prometheusTests is the folder of Prometheus' own test files.
func prometheusTests(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/prometheus/prometheus").Output()
	folder := filepath.Join(strings.TrimSpace(string(out)), "cmd", "promtool", "testdata")
	if err != nil {
		t.Skipf("SKIPPED: the sources of Prometheus are not there, so its own test files were not run: %v", err)
	}
	return folder
}

// TestPrometheusOwnFiles runs the files that promtool's tests run, and wants the same verdicts. Those in which promtool switches off
// the @ modifier or negative offsets are left out: nobody can in Prometheus 3.
func TestPrometheusOwnFiles(t *testing.T) {
	t.Parallel()
	folder := prometheusTests(t)
	for _, c := range []struct {
		file   string
		o      ruletest.Options
		passes bool
	}{
		{file: "unittest.yml", passes: true},
		{file: "long-period.yml", passes: true},
		{file: "bad-input-series.yml"},
		{file: "bad-promql.yml"},
		{file: "bad-rules-syntax-test.yml"},
		{file: "bad-rules-error-test.yml"},
		{file: "failing.yml"},
		{file: "at-modifier-test.yml", passes: true},
		{file: "negative-offset-test.yml", passes: true},
		{file: "experimental-functions-test.yml"},
		{file: "experimental-functions-test.yml", o: ruletest.Options{Experimental: true}, passes: true},
		{file: "no-test-group-interval.yml", passes: true},
		{file: "start-time-test.yml", passes: true},
		{file: "rules_run.yml"},
		{file: "rules_run.yml", o: ruletest.Options{Run: regexp.MustCompile("correct|wrong")}},
		{file: "rules_run.yml", o: ruletest.Options{Run: regexp.MustCompile("correct")}, passes: true},
		{file: "rules_run.yml", o: ruletest.Options{Run: regexp.MustCompile("wrong")}},
		{file: "rules_run_extrafields.yml"},
		{file: "rules_run_extrafields.yml", o: ruletest.Options{IgnoreUnknownFields: true}, passes: true},
		{file: "rules_run_no_fuzzy.yml"},
		{file: "rules_run_fuzzy.yml", o: ruletest.Options{Run: regexp.MustCompile("correct")}, passes: true},
		{file: "rules_run_fuzzy.yml", o: ruletest.Options{Run: regexp.MustCompile("wrong")}},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			r := ruletest.File(context.Background(), filepath.Join(folder, c.file), c.o)
			if passed := len(r.Errors) == 0; passed != c.passes {
				t.Errorf("passed is %v, want %v: %v", passed, c.passes, r.Errors)
			}
			for _, err := range r.Errors {
				t.Log(err)
			}
		})
	}
}
