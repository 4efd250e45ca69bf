// Package docs_test holds the pages of docs/ to their word: it runs what they tell people to run.
package docs_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/test/services"
)

const root = "../.."

// example is a command of a page with what it shall print. "…" in that stands for anything.
type example struct {
	line    int
	command string
	want    string
}

// examples reads the blocks of the page marked console. Others, of languages that are known, are not run.
func examples(t *testing.T, page string) []example {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var list []example
	fence := ""
	for i, line := range strings.Split(string(text), "\n") {
		if mark, ok := strings.CutPrefix(line, "```"); ok {
			fence = mark
			continue
		}
		if fence != "console" {
			if !slices.Contains([]string{"", "sh", "crontab", "text", "yaml", "json", "go", "promql"}, fence) {
				t.Errorf("%s:%d: nothing is known of a block marked %q", page, i+1, fence)
			}
			continue
		}
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			list = append(list, example{line: i + 1, command: command})
		} else if more, ok := strings.CutPrefix(line, "> "); ok {
			list[len(list)-1].command += "\n" + more
		} else {
			list[len(list)-1].want += line + "\n"
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s has no examples", page)
	}
	return list
}

// matches reports whether the output is what the page shows.
func matches(want, got string) bool {
	parts := strings.Split(strings.TrimSpace(want), "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`^(?s:` + strings.Join(parts, ".*") + `)$`).MatchString(strings.TrimSpace(got))
}

const apiKey = "tkf_docsdocsdocsdocsdocsdocsdocsdocsdocsdocsdocsdocsdocs"

// site is what a reader of the pages has: a server, and a shell with programs.
type site struct {
	url string   // of the server
	bin string   // a folder in PATH
	env []string // of the shell
}

// server is tokiflow as a reader of the page would have it.
func server(t *testing.T) site {
	t.Helper()
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("MISSING %s: the examples of the pages are not tried", tool)
		}
	}
	database := pgtest.NewURL(t)
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "tokiflow"), "./cmd/tokiflow")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	hook := freePort(t)
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "API_KEY="+apiKey, "WEBHOOK_LISTEN="+hook, "DATABASE_URL="+database)
	serve := exec.Command(filepath.Join(bin, "tokiflow"), "serve", "--listen", "127.0.0.1:0",
		"--data-dir", t.TempDir(), "--bootstrap-api-key", apiKey, "--alert-webhook", "http://"+hook+"/", "--allow-private-webhooks", "--allow-private-forwards")
	serve.Env = env
	serve.Stderr = t.Output()
	out, err := serve.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serve.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(time.Minute, func() { _ = serve.Process.Kill() })
		defer late.Stop()
		if err := serve.Wait(); err != nil {
			t.Errorf("the server's end: %v", err)
		}
	})
	first := regexp.MustCompile(`curl -sS '(http://[^/]+)/ping/([^/]+)/`)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := first.FindStringSubmatch(lines.Text()); m != nil {
			return site{url: m[1], bin: bin, env: append(env, "BASE_URL="+m[1], "URL="+m[1], "PROJECT="+m[2])}
		}
	}
	t.Fatal("the server did not say how to begin")
	return site{}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestEveryLineOfThePages runs the examples of each page in one shell session, against a real server.
func TestEveryLineOfThePages(t *testing.T) {
	s := server(t)
	for _, page := range []string{"docs/quick-start.md", "docs/troubleshooting.md"} {
		t.Run(filepath.Base(page), func(t *testing.T) { follow(t, s.env, page) })
	}
	t.Run("Alertmanager", func(t *testing.T) {
		env := append(s.env, "PATH="+filepath.Dir(services.AmtoolProgram(t))+":"+s.bin+":"+os.Getenv("PATH"))
		for _, page := range []string{"docs/alerting.md", "docs/alerting-configuration.md"} {
			t.Run(filepath.Base(page), func(t *testing.T) { follow(t, env, page) })
		}
	})
	t.Run("Prometheus", func(t *testing.T) {
		env := append(s.env, "PROMETHEUS="+prometheusOfThePage(t, s))
		for _, page := range []string{"docs/prometheus.md", "docs/rules.md", "docs/forwarding.md"} {
			t.Run(filepath.Base(page), func(t *testing.T) { follow(t, env, page) })
		}
	})
}

// follow runs the examples of the page, in a folder that has the files of docs/examples.
func follow(t *testing.T, env []string, page string) {
	t.Helper()
	const cut = "---8<---"
	list := examples(t, page)
	var text strings.Builder
	for _, e := range list {
		fmt.Fprintf(&text, "%s\necho; echo '%s'\n", e.command, cut)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "docs", "examples"))); err != nil {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", text.String())
	shell.Env, shell.Dir = env, dir
	out, err := shell.CombinedOutput()
	if err != nil {
		t.Errorf("%v", err)
	}
	got := strings.Split(string(out), cut+"\n")
	if len(got) != len(list)+1 {
		t.Fatalf("%d outputs of %d commands:\n%s", len(got)-1, len(list), out)
	}
	for i, e := range list {
		if !matches(e.want, got[i]) {
			t.Errorf("%s:%d: %s\nprinted\n%s\nand not\n%s", page, e.line, e.command, got[i], e.want)
		}
	}
}

// TestLinksOfThePages follows every relative link of the pages.
func TestLinksOfThePages(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	records, err := filepath.Glob(filepath.Join(root, "docs", "adr", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, records...)
	pages = append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"), filepath.Join(root, "CHANGELOG.md"))
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)\s]*)?\)`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}
