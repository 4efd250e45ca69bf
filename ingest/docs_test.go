package ingest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/record"
)

// The page that this test holds to its word.
const page = "../docs/ping-api.md"

// example is a command of the page with what it shall print. "…" in that stands for anything.
type example struct {
	line    int
	command string
	want    string
}

// examples reads the blocks of the page marked console and crontab.
func examples(t *testing.T) []example {
	t.Helper()
	text, err := os.ReadFile(page)
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
		switch fence {
		case "crontab":
			fields := strings.SplitN(line, " ", 6)
			list = append(list, example{line: i + 1, command: fields[5], want: "…"})
		case "console":
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				list = append(list, example{line: i + 1, command: command})
			} else if more, ok := strings.CutPrefix(line, "> "); ok {
				list[len(list)-1].command += "\n" + more
			} else {
				list[len(list)-1].want += line + "\n"
			}
		case "":
		default:
			t.Errorf("line %d: a block marked %q is not tried by this test", i+1, fence)
		}
	}
	return list
}

// TestEveryLineOfThePage runs the examples of the page in one shell session, one after the other, against a real server.
func TestEveryLineOfThePage(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "wget", "gzip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: the examples of %s are not tried, %s is missing: install it", page, tool)
		}
	}
	b := start(t, func(o *Options) { o.RateLimit = DefaultRateLimit })
	b.src.set(targetOf(orgA(), projA(), noKey, "nightly-backup"))
	dir := t.TempDir()
	job := "#!/bin/sh\necho 'backup ran'\nexit 3\n"
	if err := os.WriteFile(filepath.Join(dir, "backup"), []byte(job), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	var script strings.Builder
	list := examples(t)
	for _, e := range list {
		fmt.Fprintf(&script, "%s\necho; echo '---8<---'\n", e.command)
	}
	cmd := exec.CommandContext(t.Context(), "bash")
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(script.String())
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "URL="+b.url, "KEY="+mainKey, "PROJECT="+projKey, "API_KEY="+apiKeyAll,
		"http_proxy=", "HTTP_PROXY=", "all_proxy=", "ALL_PROXY=", "no_proxy=*")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	printed := strings.Split(strings.ReplaceAll(string(out), "\r\n", "\n"), "---8<---\n")
	if len(printed) != len(list)+1 || len(list) < 20 {
		t.Fatalf("%d outputs of %d examples", len(printed)-1, len(list))
	}
	for i, e := range list {
		got, want := strings.TrimRight(printed[i], "\n"), strings.TrimRight(e.want, "\n")
		pattern := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$"
		if !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("%s:%d: %s\nprinted:\n%s\nwant:\n%s", page, e.line, e.command, got, want)
		}
	}
	b.checkPage()
}

// checkPage looks at what the examples have stored.
func (b *bundle) checkPage() {
	b.t.Helper()
	var crontab, output, redacted, made bool
	for _, p := range b.log.all() {
		crontab = crontab || p.Kind == record.Fail && p.ExitCode == 3 && len(p.Body) == 0
		output = output || p.ExitCode == 3 && string(p.Body) == "backup ran"
		redacted = redacted || string(p.Body) == "login with password=[redacted] failed"
		made = made || p.Monitor == b.ingest.cache.bySlug(projA().UUID, "reports")[0].Monitor
	}
	if !crontab || !output || !redacted || !made {
		b.t.Errorf("exit status of the crontab: %v, output of the job: %v, redaction: %v, created: %v", crontab, output, redacted, made)
	}
}

// TestThePageNamesEveryAnswer compares the page's tables with the program.
func TestThePageNamesEveryAnswer(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (\\d{3}) \\| `([^`]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		rows[row[1]+" "+row[2]] = true
	}
	for r := range results {
		a := answerOf(r)
		if !strings.Contains(string(text), "`"+a.label+"`") {
			t.Errorf("the metric's label %q is not on the page", a.label)
		}
		if a.body == "" {
			continue
		}
		row := fmt.Sprintf("%d %s", a.status, a.body)
		if !rows[row] {
			t.Errorf("the answer %q is not on the page", row)
		}
		delete(rows, row)
	}
	for row := range rows {
		t.Errorf("the page has an answer that is never given: %q", row)
	}
	b := start(t, func(o *Options) { o.Metrics = prometheus.NewRegistry() })
	descs := make(chan *prometheus.Desc, 100)
	for _, c := range b.ingest.metrics.all {
		c.Describe(descs)
	}
	close(descs)
	for d := range descs {
		name := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String())[1]
		if !strings.Contains(string(text), "`"+name) {
			t.Errorf("the metric %s is not on the page", name)
		}
	}
}
