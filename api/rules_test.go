package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/rules"
)

const firstGroup = `name: first
interval: 30s
limit: 5
labels:
  team: db
rules:
  - record: job:runs:rate
    expr: rate(tokiflow_monitor_runs_total[5m]) # at the end
  - alert: Down
    expr: tokiflow_monitor_up == 0
    for: 1m30s
    annotations:
      summary: '{{ $labels.id }} is down'
`

// rule sends a body as YAML.
func (s *bundle) rule(key, method, path, body string, headers ...string) *answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.ctx, method, s.server.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/yaml")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return s.send(req)
}

func TestAGroupComesBackAsItWasSent(t *testing.T) {
	s := newBundle(t)
	r := s.rule(s.a.write, http.MethodPut, "/api/v1/rules/first", firstGroup).want(http.StatusCreated)
	want := strings.Replace(firstGroup, " # at the end", "", 1)
	if got := string(r.raw); !sameLines(got, want) || r.header.Get("Content-Type") != "application/yaml" {
		t.Errorf("%s: %s", r.header.Get("Content-Type"), got)
	}
	again := s.rule(s.a.write, http.MethodPut, "/api/v1/rules/first", string(r.raw)).want(http.StatusOK)
	if string(again.raw) != string(r.raw) {
		t.Error("what it writes it does not read as the same")
	}
	one := s.rule(s.a.read, http.MethodGet, "/api/v1/rules/first", "").want(http.StatusOK)
	if string(one.raw) != string(r.raw) {
		t.Errorf("%s", one.raw)
	}
	all := s.rule(s.a.read, http.MethodGet, "/api/v1/rules", "").want(http.StatusOK)
	if !strings.HasPrefix(string(all.raw), "groups:\n") {
		t.Errorf("not a rule file: %s", all.raw)
	}
	if groups, errs := rules.NewFormat(false).ParseFile(all.raw); len(errs) > 0 || len(groups) != 1 || groups[0].Rules[1].Alert != "Down" {
		t.Errorf("%v %v", groups, errs)
	}
	j := s.rule(s.a.read, http.MethodGet, "/api/v1/rules/first", "", "Accept", "application/json").want(http.StatusOK)
	if j.text("interval") != "30s" || j.header.Get("Content-Type") != "application/json" {
		t.Errorf("%s", j.raw)
	}
	list := s.rule(s.a.read, http.MethodGet, "/api/v1/rules", "", "Accept", "application/json").want(http.StatusOK)
	if g := list.body["groups"].([]any); len(g) != 1 {
		t.Errorf("%s", list.raw)
	}
	s.rule(s.a.write, http.MethodDelete, "/api/v1/rules/first", "").want(http.StatusNoContent)
	s.rule(s.a.write, http.MethodDelete, "/api/v1/rules/first", "").want(http.StatusNotFound)
	s.rule(s.a.read, http.MethodGet, "/api/v1/rules/first", "").want(http.StatusNotFound)
	s.rule(s.a.write, http.MethodPut, "/api/v1/rules/first", firstGroup).want(http.StatusCreated)
}

// sameLines compares texts line by line, without the order in which maps are written.
func sameLines(a, b string) bool {
	count := map[string]int{}
	for l := range strings.SplitSeq(a, "\n") {
		count[strings.TrimSpace(l)]++
	}
	for l := range strings.SplitSeq(b, "\n") {
		count[strings.TrimSpace(l)]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestAGroupInJSON(t *testing.T) {
	s := newBundle(t)
	body := `{"rules":[{"record":"a","expr":"vector(1)","labels":{"smile":"\ud83d\ude00\/"}}],"query_offset":"1m"}`
	s.rule(s.a.write, http.MethodPut, "/api/v1/rules/j", body, "Content-Type", "application/json; charset=utf-8", "Accept", "application/json").want(http.StatusCreated)
	r := s.rule(s.a.read, http.MethodGet, "/api/v1/rules/j", "", "Accept", "application/json").want(http.StatusOK)
	if !strings.Contains(string(r.raw), "😀/") || r.text("query_offset") != "1m" || r.text("name") != "j" {
		t.Errorf("%s", r.raw)
	}
	s.rule(s.a.write, http.MethodPut, "/api/v1/rules/j", "{", "Content-Type", "application/json").want(http.StatusBadRequest)
	s.rule(s.a.write, http.MethodPut, "/api/v1/rules/j", "{}{}", "Content-Type", "application/json").want(http.StatusBadRequest)
	s.rule(s.a.write, http.MethodPut, "/api/v1/rules/j", body, "Content-Type", "image/png").want(http.StatusUnsupportedMediaType)
	s.rule(s.a.write, http.MethodPut, "/api/v1/rules/j", body, "Content-Type", "a/b/c;").want(http.StatusUnsupportedMediaType)
	s.rule(s.a.write, http.MethodPut, "/api/v1/rules/j", "rules:\n"+strings.Repeat("# long\n", 200_000)).want(http.StatusRequestEntityTooLarge)
}

func TestAGroupsNameMayHaveAnyCharacter(t *testing.T) {
	s := newBundle(t)
	for _, name := range []string{"a/b", "a b", "50%", "%2F", "ü/日本", "..", "a?b#c", "x;y", `"quoted"`, "{group}", "+"} {
		path := "/api/v1/rules/" + escaped(name)
		s.rule(s.a.write, http.MethodPut, path, "rules: []").want(http.StatusCreated)
		r := s.rule(s.a.read, http.MethodGet, path, "", "Accept", "application/json").want(http.StatusOK)
		if r.text("name") != name {
			t.Errorf("%q became %q", name, r.text("name"))
		}
		s.rule(s.a.write, http.MethodDelete, path, "").want(http.StatusNoContent)
	}
	for _, name := range []string{"%00", "%ff", url.PathEscape(strings.Repeat("x", 501))} {
		s.rule(s.a.write, http.MethodPut, "/api/v1/rules/"+name, "rules: []").want(http.StatusUnprocessableEntity)
		s.rule(s.a.write, http.MethodGet, "/api/v1/rules/"+name, "").want(http.StatusForbidden)
		s.rule(s.a.read, http.MethodGet, "/api/v1/rules/"+name, "").want(http.StatusNotFound)
		s.rule(s.a.write, http.MethodDelete, "/api/v1/rules/"+name, "").want(http.StatusNotFound)
	}
}

// escaped is a name as one element of a path, dots included: else they would be a way up.
func escaped(name string) string { return strings.ReplaceAll(url.PathEscape(name), ".", "%2E") }

func TestNothingChangesUnlessAllIsValid(t *testing.T) {
	s := newBundle(t)
	s.rule(s.a.write, http.MethodPut, "/api/v1/rules/first", firstGroup).want(http.StatusCreated)
	before := s.rule(s.a.read, http.MethodGet, "/api/v1/rules", "").raw
	for body, words := range map[string]string{
		strings.Replace(firstGroup, "== 0", "== (", 1):                                  "could not parse expression",
		strings.Replace(firstGroup, "expr: tokiflow", "expression: x", 1):               "line 10: field expression not found",
		strings.Replace(firstGroup, "{{ $labels.id }}", "{{ $labels.", 1):               "template",
		strings.Replace(firstGroup, "interval: 30s", "interval: 10ms", 1):               "1s is the least",
		strings.Replace(firstGroup, "name: first", "name: second", 1):                   `is named "second", but is sent as "first"`,
		strings.Replace(firstGroup, "- alert: Down", "- record: x\n    alert: Down", 1): "only one of 'record' and 'alert' must be set",
		"groups:\n  - name: first\n    rules: []\n":                                     "this is a rule file",
		"rules: []\n---\nrules: []\n":                                                   "second YAML document",
		"rules: [":                                                                      "yaml",
		"---":                                                                           "empty",
	} {
		s.rule(s.a.write, http.MethodPut, "/api/v1/rules/first", body).problem("body", words)
	}
	bad := s.rule(s.a.write, http.MethodPut, "/api/v1/rules/first", strings.Replace(firstGroup, "== 0", "== (", 1))
	bad.problem("body", "10:11:")
	if after := s.rule(s.a.read, http.MethodGet, "/api/v1/rules", "").raw; string(after) != string(before) {
		t.Error("a group that was refused changed something")
	}
}

func TestRulesStayInTheirOrganisation(t *testing.T) {
	s := newBundle(t)
	s.rule(s.a.all, http.MethodPut, "/api/v1/rules/first", firstGroup).want(http.StatusCreated)
	if r := s.rule(s.b.all, http.MethodGet, "/api/v1/rules", "").want(http.StatusOK); string(r.raw) != "groups: []\n" {
		t.Errorf("%s", r.raw)
	}
	s.rule(s.b.all, http.MethodGet, "/api/v1/rules/first", "").want(http.StatusNotFound)
	s.rule(s.b.all, http.MethodDelete, "/api/v1/rules/first", "").want(http.StatusNotFound)
	s.rule(s.b.all, http.MethodPut, "/api/v1/rules/first", "rules: []").want(http.StatusCreated)
	if r := s.rule(s.a.all, http.MethodGet, "/api/v1/rules/first", "").want(http.StatusOK); !strings.Contains(string(r.raw), "Down") {
		t.Errorf("%s", r.raw)
	}
	s.rule(s.a.read, http.MethodPut, "/api/v1/rules/first", firstGroup).want(http.StatusForbidden)
	s.rule(s.a.read, http.MethodDelete, "/api/v1/rules/first", "").want(http.StatusForbidden)
}

func TestAServerWithoutRules(t *testing.T) {
	s := newBundle(t, func(o *api.Options) { o.Rules = nil })
	s.rule(s.a.all, http.MethodPut, "/api/v1/rules/first", firstGroup).want(http.StatusServiceUnavailable)
	s.rule(s.a.all, http.MethodGet, "/api/v1/rules", "").want(http.StatusServiceUnavailable)
	s.rule(s.a.all, http.MethodGet, "/api/v1/rules", "", "Accept", "application/json").want(http.StatusOK)
}
