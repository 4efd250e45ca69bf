package main

import (
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// invocation is one run of the program within the test's process.
type invocation struct {
	variables map[string]string
	files     map[string]string
	stdin     string
}

// result is what came of it.
type result struct {
	Code        int
	Out, Errors string
}

func (i invocation) run(t *testing.T, args ...string) result {
	t.Helper()
	dir := t.TempDir()
	open := func(name, content string) *os.File {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	read := func(f *os.File) string {
		_ = f.Close()
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	e := i.environment()
	e.stdin, e.stdout, e.stderr = open("in", i.stdin), open("out", ""), open("err", "")
	code := e.run(t.Context(), args)
	_ = e.stdin.Close()
	return result{Code: code, Out: read(e.stdout), Errors: read(e.stderr)}
}

func (i invocation) environment() environment {
	return environment{
		lookup: func(name string) (string, bool) { v, ok := i.variables[name]; return v, ok },
		readFile: func(name string) ([]byte, error) {
			content, ok := i.files[name]
			if !ok {
				return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
			}
			return []byte(content), nil
		},
	}
}

// parse parses a command line without running it.
func (i invocation) parse(t *testing.T, args ...string) (cli, error) {
	t.Helper()
	var c cli
	p, err := newParser(&c, i.environment())
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Parse(args)
	return c, err
}

func definition(t *testing.T) *kong.Node {
	t.Helper()
	var c cli
	p, err := newParser(&c, environment{})
	if err != nil {
		t.Fatal(err)
	}
	return p.Model.Node
}

func TestMistakesAreExplained(t *testing.T) {
	t.Parallel()
	f := func(code int, says string, args ...string) {
		t.Helper()
		r := invocation{}.run(t, args...)
		if r.Code != code || !strings.Contains(r.Errors, says) || !strings.Contains(r.Errors, "--help") || r.Out != "" {
			t.Errorf("%q: %+v, want status %d and %q", args, r, code, says)
		}
	}
	f(2, `unexpected argument sreve, did you mean "serve"?`, "sreve")
	f(2, `unknown flag --lissen, did you mean "--listen"?`, "serve", "--lissen", ":1")
	f(2, `--log-level must be one of`, "serve", "--log-level", "loud")
	f(2, `--role must be one of`, "serve", "--role", "ingest,reed")
	f(2, `no ping key`, "ping")
	f(2, `must be a UUID`, "ping", "--key", "k", "--rid", "7")
	f(2, `must be from 0 to 255`, "ping", "--key", "k", "--exit-code", "256")
	f(2, `begin with http://`, "ping", "--key", "k", "--url", "localhost")
	f(125, `no command`, "exec", "--key", "k")
	f(125, `no command`, "exec", "--key", "k", "--")
	f(125, `no ping key`, "exec", "--", "true")
	f(125, `did you mean "--key"?`, "exec", "--kye", "k", "--", "true")
	f(125, `must be a UUID`, "exec", "--key", "k", "--rid", "x", "--", "true")
	f(2, `cron`, "schedule", "next", "--cron", "61 * * * *")
	f(2, `"bash","zsh","fish"`, "completion", "tcsh")
}

func TestHelpOfEveryCommandHasAnExample(t *testing.T) {
	t.Parallel()
	for _, node := range definition(t).Leaves(true) {
		args := append(strings.Fields(node.Path()), "--help")
		r := invocation{}.run(t, args...)
		if r.Code != 0 || r.Errors != "" || !strings.Contains(r.Out, "Example") || !strings.Contains(r.Out, "    tokiflow "+node.Path()) {
			t.Errorf("%q: %+v, want help with an example", args, r)
		}
	}
	if r := (invocation{}).run(t); r.Code != 0 || !strings.Contains(r.Out, "Commands:") {
		t.Errorf("without arguments: %+v, want the help", r)
	}
}

func TestOptionsHaveVariables(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, node := range commands(definition(t)) {
		for _, flag := range node.Flags {
			name := variable(flag)
			if flag.Name != "help" && name != strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")) {
				t.Errorf("--%s has the variable %q", flag.Name, name)
			}
			if other, ok := seen[name]; ok && other != flag.Name {
				t.Errorf("%s belongs to --%s and to --%s", name, other, flag.Name)
			}
			seen[name] = flag.Name
			if help := describe(flag.Value); flag.Name != "help" && !strings.Contains(help, "$"+name) {
				t.Errorf("the help of --%s does not name its variable: %s", flag.Name, help)
			}
		}
	}
}

func TestWhereAValueComesFrom(t *testing.T) {
	t.Parallel()
	i := invocation{
		variables: map[string]string{
			"LISTEN": ":1", "DATABASE_URL": "", "KAFKA_BROKERS": "a:1,b:2", "KAFKA_TLS": "true", "LOG_LEVEL": "",
			"PING_RATE_LIMIT": "0", "LOG_RETENTION": "2d", "ALERT_WEBHOOK": "http://a,http://b",
			"DATABASE_URL_FILE": "/secret", "BOOTSTRAP_API_KEY": "variable", "BOOTSTRAP_API_KEY_FILE": "/other", "LISTEN_FILE": "/none",
		},
		files: map[string]string{"/secret": "postgres://x\n", "/other": "file"},
	}
	c, err := i.parse(t, "serve", "--listen", ":2", "--role=ingest", "--role", "read")
	if err != nil {
		t.Fatal(err)
	}
	s := c.Serve
	got := []any{s.Listen, s.DatabaseURL, s.KafkaBrokers, s.KafkaTLS, s.LogLevel, s.PingRateLimit, s.LogRetention.String(), s.AlertWebhook, s.BootstrapAPIKey, s.Role, s.DataDir}
	want := []any{":2", "postgres://x", []string{"a:1", "b:2"}, true, "info", 0, "2d", []string{"http://a", "http://b"}, "variable", []string{"ingest", "read"}, "./data"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestVariablesThatAreWrong(t *testing.T) {
	t.Parallel()
	f := func(says string, variables map[string]string) {
		t.Helper()
		_, err := invocation{variables: variables}.parse(t, "serve")
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: error %v, want %q", variables, err, says)
		}
	}
	f("--ping-rate-limit", map[string]string{"PING_RATE_LIMIT": "many"})
	f("--log-format", map[string]string{"LOG_FORMAT": "xml"})
	f("DATABASE_URL_FILE", map[string]string{"DATABASE_URL_FILE": "/none"})
}

func TestScheduleNext(t *testing.T) {
	t.Parallel()
	f := func(want string, args ...string) {
		t.Helper()
		r := invocation{}.run(t, append([]string{"schedule", "next"}, args...)...)
		if d := cmp.Diff(result{Out: want}, r); d != "" {
			t.Errorf("%q: %s", args, d)
		}
	}
	f("2026-03-28T01:30:00Z\n2026-03-29T01:00:00Z\n2026-03-30T00:30:00Z\n",
		"--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--from", "2026-03-28T00:00:00Z", "-n", "3")
	f("2026-01-01T01:30:00Z\n", "--interval", "90m", "--from", "2026-01-01T00:00:00Z", "-n", "1")
	r := invocation{}.run(t, "schedule", "next", "--cron", "@hourly")
	if r.Code != 0 || strings.Count(r.Out, ":00:00Z\n") != 5 {
		t.Errorf("%+v, want five whole hours", r)
	}
	r = invocation{}.run(t, "schedule", "next", "--cron", "0 0 30 2 *")
	if r.Code != 1 || !strings.Contains(r.Errors, "never due") {
		t.Errorf("%+v, want that it is never due", r)
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	var got string
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 100)
		n, _ := r.Body.Read(body)
		got = r.RequestURI + " " + string(body[:n])
		w.Header().Set("Ping-Id", "7")
		_, _ = w.Write([]byte("OK"))
	}))
	defer h.Close()
	f := func(i invocation, want string, args ...string) {
		t.Helper()
		got = ""
		r := i.run(t, append([]string{"ping", "--base-url", h.URL}, args...)...)
		if r.Code != 0 || r.Out != "OK 7\n" || got != want {
			t.Errorf("%q: %+v, sent %q, want %q", args, r, got, want)
		}
	}
	const rid = "0190f9a4-0000-7000-8000-000000000001"
	f(invocation{}, "/ping/k ", "k")
	f(invocation{}, "/ping/k/start?rid="+rid+" ", "--key", "k", "--kind", "start", "--rid", rid)
	f(invocation{}, "/ping/p/s/3?create=1&duration=1.500000 hello", "p/s", "--exit-code", "3", "--body", "hello", "--duration", "1.5", "--create")
	f(invocation{stdin: "from stdin"}, "/ping/k/log from stdin", "k", "--kind", "log", "--body", "-")
	f(invocation{variables: map[string]string{"KEY": "v", "BODY": "b"}}, "/ping/v b")
	f(invocation{variables: map[string]string{"KEY": "v"}}, "/ping/k ", "k")
	h.Close()
	r := invocation{}.run(t, "ping", "k", "--url", h.URL, "--ping-give-up", "100ms")
	if r.Code != 1 || !strings.Contains(r.Errors, "was not taken") {
		t.Errorf("%+v, want a failure", r)
	}
}

func TestExecPassesTheExitStatusOn(t *testing.T) {
	t.Parallel()
	var paths []string
	h := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths = append(paths, r.URL.Path) }))
	defer h.Close()
	i := invocation{stdin: "in", variables: map[string]string{"KEY": "k", "BASE_URL": h.URL}}
	r := i.run(t, "exec", "--", "sh", "-c", `cat; echo "$@" >&2; exit 9`, "--", "--key", "x")
	if d := cmp.Diff(result{Code: 9, Out: "in", Errors: "--key x\n"}, r); d != "" {
		t.Error(d)
	}
	if r := i.run(t, "exec", "true"); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	if d := cmp.Diff([]string{"/ping/k/start", "/ping/k/9", "/ping/k/start", "/ping/k/0"}, paths); d != "" {
		t.Error(d)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	if r := (invocation{}).run(t, "version"); r.Code != 0 || !strings.HasPrefix(r.Out, "tokiflow ") || !strings.Contains(r.Out, " go1.") {
		t.Errorf("%+v", r)
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	loggingFlags{LogFormat: "json", LogLevel: "warn"}.logger(&b).Info("not said")
	loggingFlags{LogFormat: "json", LogLevel: "warn"}.logger(&b).Warn("said")
	loggingFlags{LogFormat: "text", LogLevel: "debug"}.logger(&b).Debug("said too")
	if s := b.String(); strings.Contains(s, "not said") || !strings.Contains(s, `"msg":"said"`) || !strings.Contains(s, `level=DEBUG msg="said too"`) {
		t.Error(s)
	}
}

func TestWelcome(t *testing.T) {
	t.Parallel()
	w := app.Welcome{URL: "http://h", Organisation: "default", ProjectKey: "pk", APIKey: "secret", FirstStart: true}
	f := func(w app.Welcome, given, wantKey bool) {
		t.Helper()
		var b strings.Builder
		welcome(&b, w, given)
		s := b.String()
		if !strings.Contains(s, "http://h") || !strings.Contains(s, "default") || !strings.Contains(s, "curl -sS 'http://h/ping/pk/my-job?create=1'") {
			t.Errorf("%s", s)
		}
		if strings.Contains(s, "secret") != wantKey {
			t.Errorf("key given %v: %s", given, s)
		}
	}
	f(w, false, true)
	f(w, true, false)
	w.APIKey, w.FirstStart = "", false
	f(w, false, false)
}

func TestReferencePageIsUpToDate(t *testing.T) {
	t.Parallel()
	page := filepath.Join("..", "..", "docs", "configuration.md")
	want := reference(definition(t))
	got, err := os.ReadFile(page)
	if errors.Is(err, fs.ErrNotExist) || err == nil && string(got) != want {
		t.Errorf("%s is out of date: run make docs", page)
	} else if err != nil {
		t.Fatal(err)
	}
	if r := (invocation{}).run(t, "reference"); r.Code != 0 || r.Out != want {
		t.Errorf("the hidden command prints something else: status %d", r.Code)
	}
}
