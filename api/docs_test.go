package api_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/record"
)

// guide is the page that this test holds to its word.
const guide = "../docs/rest-api.md"

// example is a command of the page with what it shall print. "…" in that stands for anything.
type example struct {
	line    int
	command string
	want    string
}

// examples reads the blocks of the page marked console.
func examples(t *testing.T) []example {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	var list []example
	fence := ""
	for i, line := range strings.Split(string(text), "\n") {
		if mark, ok := strings.CutPrefix(line, "```"); ok {
			fence = mark
			if fence != "" && fence != "console" {
				t.Errorf("line %d: a block marked %q is not tried by this test", i+1, fence)
			}
			continue
		}
		if fence != "console" {
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
	return list
}

// TestEveryLineOfTheGuide runs the examples of the page in one shell session, one after the other, against a server whose
// every new monitor has failed once already.
func TestEveryLineOfTheGuide(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: the examples of %s are not tried, %s is missing: install it", guide, tool)
		}
	}
	s := newBundle(t, func(o *api.Options) { o.History = nil })
	s.log.apply = func(c record.Control) error {
		switch {
		case c.Version == 1:
			return s.failOnce(c.Monitor)
		case c.Action == record.ResolveIncident:
			_, err := s.pool.Exec(s.ctx, `update incidents set status = 'resolved', resolved_at = now() where id = $1`, uuid.UUID(c.Config))
			return err
		}
		return nil
	}
	const mark = "---8<---"
	var script strings.Builder
	list := examples(t)
	for _, e := range list {
		fmt.Fprintf(&script, "%s\necho '%s'\n", e.command, mark)
	}
	cmd := exec.CommandContext(s.ctx, "bash", "-u")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "URL="+s.server.URL, "API_KEY="+s.a.all)
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	answers := strings.Split(string(out), mark+"\n")
	if len(answers) != len(list)+1 || len(list) < 15 {
		t.Fatalf("%d answers to %d commands: %s", len(answers)-1, len(list), out)
	}
	for i, e := range list {
		want := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(e.want)), "…", ".*")
		if !regexp.MustCompile("^" + want + "$").MatchString(strings.TrimSpace(answers[i])) {
			t.Errorf("%s, line %d: %s\nprints  %s\nand not %s", guide, e.line, e.command, answers[i], e.want)
		}
	}
}

// failOnce writes what a failed run leaves behind.
func (s *bundle) failOnce(monitor uuid.UUID) error {
	const output = "no space left on device"
	when := time.Now().Add(-time.Minute)
	for sql, args := range map[string][]any{
		`insert into pings (received_at, org_id, monitor_id, id, kind, exit_code, body_size, remote_addr, user_agent, method, body)
			values ($1, $2, $3, gen_random_uuid(), 3, 3, 23, '192.0.2.1', 'curl', 'POST', $4)`: {when, s.a.org, monitor, []byte(output)},
		`insert into runs (finished_at, org_id, monitor_id, run_id, duration_seconds, exit_code, outcome)
			values ($1, $2, $3, gen_random_uuid(), 12.5, 3, 'fail')`: {when, s.a.org, monitor},
		`insert into incidents (id, org_id, monitor_id, monitor_name, kind, severity, opened_at, evidence)
			values ($1, $2, $3, 'm', 'fail', 'critical', $4, jsonb_build_object('exit_code', 3, 'output', $5::text))`: {
			incident.ID(monitor, incident.Fail, when, 1), s.a.org, monitor, when, output,
		},
	} {
		if _, err := s.pool.Exec(s.ctx, sql, args...); err != nil {
			return err
		}
	}
	return nil
}
