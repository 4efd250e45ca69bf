package promql

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
)

// child is set in the process that runs Prometheus' tests: what fails there is to be counted, not to fail the test.
const child = "TOKIFLOW_PROMQL_CHILD"

// least is how many evaluations must be right.
const least = 2390

// evaluation is the line that go test prints for one.
const evaluation = `^\s*--- (PASS|FAIL|SKIP): TestBuiltin/testdata/([^/]+\.test)/line_(\d+)/(.*) \([0-9.]+s\)$`

// TestAcceptance runs every evaluation of Prometheus' acceptance tests against stored samples and holds which of them go wrong.
func TestAcceptance(t *testing.T) {
	out := runChild(t)
	pattern := regexp.MustCompile(evaluation)
	var passed int
	var missed []string
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := pattern.FindStringSubmatch(lines.Text())
		switch {
		case m == nil:
		case m[1] == "PASS":
			passed++
		default:
			missed = append(missed, fmt.Sprintf("%s:%s %s", m[2], m[3], m[4]))
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(missed)
	all := passed + len(missed)
	t.Logf("%d of %d evaluations are right; missed:\n%s", passed, all, strings.Join(missed, "\n"))
	if passed < least {
		t.Errorf("%d are right, want at least %d\n%s", passed, least, out)
	}
	want := known()
	slices.Sort(want)
	if d := cmp.Diff(want, missed); d != "" {
		t.Errorf("those that go wrong are not those that are known (docs/adr/0010-samples.md):\n%s", d)
	}
	expressions, err := promqltest.GetBuiltInExprs()
	if err != nil || len(expressions) != all {
		t.Errorf("%d evaluations ran of %d, %v", all, len(expressions), err)
	}
}

func runChild(t *testing.T) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBuiltin$", "-test.v", "-test.timeout=9m")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if bytes.Contains(out, []byte("SKIPPED, NOT RUN")) {
		t.Skipf("SKIPPED, NOT RUN:\n%s", out)
	}
	return out
}

// TestBuiltin is what the child process runs.
func TestBuiltin(t *testing.T) {
	if os.Getenv(child) == "" {
		t.Skip("TestAcceptance runs this in a process of its own")
	}
	pool := pgtest.New(t)
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	begun := time.Now()
	promqltest.RunBuiltinTestsWithStorage(t, engine, func(t testing.TB) storage.Storage { return newStorage(t, pool) })
	t.Logf("took %v", time.Since(begun))
}

// known are the evaluations that go wrong, each for a reason that docs/adr/0010-samples.md gives.
func known() []string {
	return []string{
		// The hint not_reset is not handed on.
		`native_histograms.test:1884 sum(metric)`,
		`native_histograms.test:1889 avg(metric)`,
		`native_histograms.test:1948 sum(metric{type=~"counter.*"})`,
		`native_histograms.test:1953 avg(metric{type=~"counter.*"})`,
		`native_histograms.test:1958 sum_over_time(mixed[3m])`,
		`native_histograms.test:1963 avg_over_time(mixed[3m])`,
		`native_histograms.test:2017 histogram_count(sum_over_time(mixed[2m]))`,
		`native_histograms.test:2022 histogram_count(avg_over_time(mixed[2m]))`,
		`range_queries.test:93 some_metric[2m]`,
		// Start timestamps are not kept.
		`start_timestamps.test:13 rate(cumulative[5m])`,
		`start_timestamps.test:149 increase(series[5m])`,
		`start_timestamps.test:174 increase(series[5m])`,
		`start_timestamps.test:18 irate(cumulative[5m])`,
		`start_timestamps.test:194 round(increase(series[1m1ms]))`,
		`start_timestamps.test:24 round(increase(cumulative[5m1ms]))`,
		`start_timestamps.test:259 increase(series[2m]_anchored)`,
		`start_timestamps.test:282 increase(series[2m]_anchored)`,
		`start_timestamps.test:29 increase(cumulative[5m]_anchored)`,
		`start_timestamps.test:299 rate(series[2m]_smoothed)`,
		`start_timestamps.test:326 rate(series[2m]_smoothed)`,
		`start_timestamps.test:34 increase(cumulative[5m]_smoothed)`,
		`start_timestamps.test:418 increase(series[2m]_anchored)`,
		`start_timestamps.test:422 rate(series[2m]_smoothed)`,
		`start_timestamps.test:438 increase(cumulative[5m])`,
		`start_timestamps.test:441 rate(cumulative[5m])`,
		`start_timestamps.test:444 irate(cumulative[5m])`,
		`start_timestamps.test:448 resets(cumulative[5m])`,
		`start_timestamps.test:465 increase(delta[5m])`,
		`start_timestamps.test:47 resets(cumulative[5m])`,
		`start_timestamps.test:471 rate(delta[5m])`,
		`start_timestamps.test:477 irate(delta[5m])`,
		`start_timestamps.test:490 rate(series[5m])`,
		`start_timestamps.test:507 rate(counter_total{type!="overlap"}[3m])`,
		`start_timestamps.test:515 rate(counter_total{type="overlap"}[3m])`,
		`start_timestamps.test:520 rate(counter_total[3m])`,
		`start_timestamps.test:536 start_timestamp(series)`,
		`start_timestamps.test:71 increase(delta[5m])`,
		`start_timestamps.test:79 rate(delta[5m])`,
		`start_timestamps.test:8 increase(cumulative[5m])`,
		`start_timestamps.test:87 irate(delta[5m])`,
	}
}
