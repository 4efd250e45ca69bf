package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/rules"
)

const goodRules = `groups:
  - name: a/b
    interval: 30s
    rules:
      - record: job:up:sum
        expr: sum by (job) (up) # how many
      - alert: Down
        expr: up == 0
        for: 5m
  - name: c
    rules: []
`

func TestRulesCheck(t *testing.T) {
	i := invocation{files: map[string]string{"good.yml": goodRules, "empty.yml": "groups: []\n"}}
	r := i.run(t, "rules", "check", "good.yml", "empty.yml")
	want := result{Out: "good.yml: 2 rules in 2 groups\nempty.yml: 0 rules in 0 groups\n"}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
}

func TestRulesCheckNamesThePlace(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"expression": {map[string]string{"x.yml": strings.Replace(goodRules, "up == 0", "up == (", 1)}, []string{`x.yml:8:15: group "a/b", rule 2, "Down": could not parse expression: 1:8: parse error`}},
		"field":      {map[string]string{"x.yml": strings.Replace(goodRules, "for:", "four:", 1)}, []string{"x.yml: yaml: unmarshal errors:\n  line 9: field four not found"}},
		"two files": {map[string]string{"x.yml": goodRules, "y.yml": strings.ReplaceAll(goodRules, "name: c", "name: d")}, []string{
			`y.yml:2:11: a group of the name "a/b" is at x.yml:2:11 already`, `y.yml:5:9: "job:up:sum" is a duplicate of the rule at x.yml:5:9`,
		}},
		"one file":  {map[string]string{"x.yml": goodRules + "  - name: e\n    rules:\n      - {record: 'job:up:sum', expr: x}\n"}, []string{`x.yml:14:9: "job:up:sum" is a duplicate of the rule at x.yml:5:9`}},
		"documents": {map[string]string{"x.yml": "groups: []\n---\ngroups: []\n"}, []string{"x.yml:2:1: there is a second YAML document"}},
		"interval":  {map[string]string{"x.yml": strings.Replace(goodRules, "30s", "30ms", 1)}, []string{"too short"}},
		"no YAML":   {map[string]string{"x.yml": "groups: ["}, []string{"x.yml: yaml: line 1"}},
	} {
		r := invocation{files: c.files}.run(t, append([]string{"rules", "check"}, slices.Sorted(maps.Keys(c.files))...)...)
		if r.Code != exitFailed {
			t.Errorf("%s: status %d", name, r.Code)
		}
		for _, w := range c.want {
			if !strings.Contains(r.Errors, w) {
				t.Errorf("%s: %q does not say %q", name, r.Errors, w)
			}
		}
	}
	if r := (invocation{}).run(t, "rules", "check", "none.yml"); r.Code != exitFailed || !strings.Contains(r.Errors, "none.yml") {
		t.Errorf("%+v", r)
	}
}

// ruleServer is the API's part about rules, in memory.
type ruleServer struct {
	*httptest.Server
	mu     sync.Mutex
	groups map[string]rule.Group
	calls  []string
	refuse string
}

func newRuleServer(t *testing.T) *ruleServer {
	t.Helper()
	s := &ruleServer{groups: map[string]rule.Group{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *ruleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := rules.NewFormat(false)
	if r.Header.Get("Authorization") != "Bearer tkf_key" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"detail":"the API key is unknown or revoked"}`)
		return
	}
	name, _ := url.PathUnescape(strings.TrimPrefix(strings.TrimPrefix(r.URL.EscapedPath(), "/base/api/v1/rules"), "/"))
	if r.Method != http.MethodGet {
		s.calls = append(s.calls, r.Method+" "+name)
	}
	switch r.Method {
	case http.MethodGet:
		var all []rule.Group
		for _, n := range slices.Sorted(maps.Keys(s.groups)) {
			all = append(all, s.groups[n])
		}
		b, _ := f.MarshalFile(all)
		_, _ = w.Write(b)
	case http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		g, errs := f.ParseGroup(name, body)
		if len(errs) > 0 || s.refuse == name {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = fmt.Fprintf(w, `{"detail":"validation failed","errors":[{"message":"refused: %v"},{"message":"twice"}]}`, errs)
			return
		}
		s.groups[name] = g
		w.WriteHeader(http.StatusCreated)
	case http.MethodDelete:
		delete(s.groups, name)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *ruleServer) run(t *testing.T, file string, args ...string) result {
	t.Helper()
	i := invocation{files: map[string]string{"r.yml": file}, variables: map[string]string{"API_KEY": "tkf_key", "BASE_URL": s.URL + "/base/"}}
	return i.run(t, append(append([]string{"rules"}, args...), "r.yml")...)
}

func (s *ruleServer) changes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls
	s.calls = nil
	return c
}

func TestRulesSyncAndDiff(t *testing.T) {
	s := newRuleServer(t)
	f := func(r result, code int, out string, changes ...string) {
		t.Helper()
		if r.Code != code || r.Out != out {
			t.Errorf("status %d, out %q, errors %q; want %d, %q", r.Code, r.Out, r.Errors, code, out)
		}
		if diff := cmp.Diff(changes, s.changes()); diff != "" {
			t.Error(diff)
		}
	}
	f(s.run(t, goodRules, "sync", "--dry-run"), 0, "would have created \"a/b\"\nwould have created \"c\"\n")
	if r := s.run(t, goodRules, "diff"); r.Code != exitFailed || !strings.Contains(r.Out, "--- server/a/b\n+++ files/a/b\n@@ -0,0 +1,") {
		t.Errorf("%+v", r)
	}
	f(s.run(t, goodRules, "sync"), 0, "created \"a/b\"\ncreated \"c\"\n", "PUT a/b", "PUT c")
	f(s.run(t, goodRules, "sync"), 0, "")
	f(s.run(t, strings.Replace(goodRules, " # how many", "", 1), "diff"), 0, "")
	f(s.run(t, strings.Replace(goodRules, "for: 5m", "for: 300s", 1), "diff"), 0, "")
	changed := strings.Replace(goodRules, "up == 0", "up < 1", 1)
	f(s.run(t, changed, "diff"), exitFailed, `--- server/a/b
+++ files/a/b
@@ -4,5 +4,5 @@
   - record: job:up:sum
     expr: sum by (job) (up)
   - alert: Down
-    expr: up == 0
+    expr: up < 1
     for: 5m
`)
	f(s.run(t, changed, "sync"), 0, "changed \"a/b\"\n", "PUT a/b")
	less := "groups:\n  - name: '..'\n    rules: []\n"
	f(s.run(t, less, "sync"), 0, "created \"..\"\nkept \"a/b\", which is in none of the files: --prune deletes it\nkept \"c\", which is in none of the files: --prune deletes it\n", "PUT ..")
	f(s.run(t, less, "sync", "--prune", "--dry-run"), 0, "would have deleted \"a/b\"\nwould have deleted \"c\"\n")
	f(s.run(t, less, "sync", "--prune"), 0, "deleted \"a/b\"\ndeleted \"c\"\n", "DELETE a/b", "DELETE c")
	s.refuse = "c"
	if r := s.run(t, goodRules, "sync"); r.Code != exitFailed || !strings.Contains(r.Errors, `group "c": the server answered 422 Unprocessable Entity: refused: []`) {
		t.Errorf("%+v", r)
	}
	s.changes()
	f(s.run(t, strings.Replace(goodRules, "up == 0", "(", 1), "sync"), exitFailed, "") // nothing was sent
}

func TestRulesNeedAKeyAndAServer(t *testing.T) {
	s := newRuleServer(t)
	i := invocation{files: map[string]string{"r.yml": goodRules}}
	if r := i.run(t, "rules", "sync", "r.yml"); r.Code != exitUsage || !strings.Contains(r.Errors, "--api-key") {
		t.Errorf("%+v", r)
	}
	if r := i.run(t, "rules", "diff", "--url", s.URL, "--api-key", "wrong", "r.yml"); r.Code != exitFailed || !strings.Contains(r.Errors, "401 Unauthorized: the API key is unknown") {
		t.Errorf("%+v", r)
	}
	s.Close()
	if r := i.run(t, "rules", "diff", "--url", s.URL, "--api-key", "k", "r.yml"); r.Code != exitFailed || !strings.Contains(r.Errors, "refused") {
		t.Errorf("%+v", r)
	}
	if r := i.run(t, "rules", "diff", "--url", "http://[", "--api-key", "k", "r.yml"); r.Code != exitUsage {
		t.Errorf("%+v", r)
	}
}

func TestRulesTest(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	write("r.yml", goodRules)
	tests := `rule_files: [r.yml, "none*.yml"]
tests:
  - name: disk
    input_series: [{series: 'up{job="j"}', values: "0x10"}]
    alert_rule_test:
      - {eval_time: 4m, alertname: Down}
      - {eval_time: 5m, alertname: Down, exp_alerts: [{exp_labels: {job: j}}]}
    promql_expr_test:
      - {expr: 'job:up:sum', eval_time: 5m, exp_samples: [{labels: 'job:up:sum{job="j"}', value: 0}]}
`
	file := write("t.yml", tests)
	r := invocation{}.run(t, "rules", "test", file)
	if r.Code != 0 || r.Out != file+": passed, 1 tests\n" || !strings.Contains(r.Errors, "warning: no file matches") {
		t.Errorf("%+v", r)
	}
	bad := write("bad.yml", strings.Replace(tests, "eval_time: 4m", "eval_time: 6m", 1))
	r = invocation{}.run(t, "rules", "test", bad, file)
	if r.Code != exitFailed || !strings.Contains(r.Errors, bad+": FAILED\n  test disk: alertname: Down, time: 6m") || !strings.Contains(r.Out, file+": passed") {
		t.Errorf("%+v", r)
	}
	if r = (invocation{}).run(t, "rules", "test", "--run", "other", bad); r.Code != 0 || !strings.Contains(r.Out, "0 tests") {
		t.Errorf("%+v", r)
	}
	if r = (invocation{}).run(t, "rules", "test", "--run", "(", bad); r.Code != exitUsage {
		t.Errorf("%+v", r)
	}
	if r = (invocation{}).run(t, "rules", "test", filepath.Join(dir, "none")); r.Code != exitFailed {
		t.Errorf("%+v", r)
	}
}

// TestUnifiedDiffs gives them to the program patch, where there is one.
func TestUnifiedDiffs(t *testing.T) {
	patch, err := exec.LookPath("patch")
	random := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	for range 200 {
		text := func() string {
			var b strings.Builder
			for range random.IntN(30) {
				b.WriteString(string(rune('a'+random.IntN(3))) + "\n")
			}
			return b.String()
		}
		a, b := text(), text()
		if random.IntN(2) == 0 {
			a = strings.Repeat("same\n", 12) + a + strings.Repeat("same\n", 12) + b
			b = strings.Repeat("same\n", 12) + "x\n" + strings.Repeat("same\n", 12) + b
		}
		got := unifiedDiff("a", "b", a, b)
		if (got == "") != (a == b) {
			t.Errorf("%q and %q: %q", a, b, got)
		}
		if err != nil || a == b {
			continue
		}
		for name, content := range map[string]string{"a": a, "patch": got} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), patch, "-s", "-o", "-", filepath.Join(dir, "a"), filepath.Join(dir, "patch"))
		if out, err := cmd.Output(); err != nil || string(out) != b {
			t.Errorf("patch makes %q of %q, want %q: %v\n%s", out, a, b, err, got)
		}
	}
	var long strings.Builder
	for i := range 6000 {
		fmt.Fprintln(&long, i)
	}
	if got := unifiedDiff("a", "b", long.String(), "x"+strings.ReplaceAll(long.String(), "\n", "x\n")); strings.Count(got, "\n") != 12003 {
		t.Errorf("%d lines", strings.Count(got, "\n"))
	}
}
