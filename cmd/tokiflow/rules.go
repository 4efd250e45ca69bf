package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/rules"
	"github.com/tokiflow/tokiflow/rules/ruletest"
)

type rulesCmd struct {
	Check rulesCheckCmd `cmd:"" help:"Look for mistakes in rule files."`
	Sync  rulesSyncCmd  `cmd:"" help:"Bring the server's rules to what rule files say."`
	Diff  rulesDiffCmd  `cmd:"" help:"Show what differs between rule files and the server."`
	Test  rulesTestCmd  `cmd:"" help:"Run Prometheus' unit tests of rules."`
}

type rulesCheckCmd struct {
	Files                 []string `arg:"" name:"files" help:"Rule files of Prometheus."`
	ExperimentalFunctions bool     `help:"Know the functions of PromQL that are experimental."`
}

// Help is shown by rules check --help.
func (rulesCheckCmd) Help() string {
	return `It prints a line for each file and, on stderr, each mistake with its line and column; it leaves with status 1 if there is any. A group or a rule that is there twice, in one file or in two, is a mistake.

Examples:

    tokiflow rules check rules.yml
    tokiflow rules check rules/*.yml`
}

// Run checks.
func (c *rulesCheckCmd) Run(e environment) error {
	_, err := readRules(e, rules.NewFormat(c.ExperimentalFunctions), c.Files, func(file string, groups []rule.Group) error {
		n := 0
		for _, g := range groups {
			n += len(g.Rules)
		}
		_, err := fmt.Fprintf(e.stdout, "%s: %d rules in %d groups\n", file, n, len(groups))
		return err
	})
	return err
}

// readRules reads rule files. Each mistake in them is printed on stderr; any makes the program leave with status 1.
func readRules(e environment, f *rules.Format, files []string, valid func(file string, groups []rule.Group) error) ([]rule.Group, error) {
	lint := rules.NewLint()
	var all []rule.Group
	wrong := false
	for _, file := range files {
		content, err := e.readFile(file)
		if err != nil {
			return nil, err
		}
		groups, errs := f.ParseFile(content)
		for i, err := range errs {
			errs[i] = inFile(file, err)
		}
		if len(errs) == 0 {
			errs = lint.Add(file, content, groups)
		}
		for _, err := range errs {
			wrong = true
			if _, err := fmt.Fprintln(e.stderr, err); err != nil {
				return nil, err
			}
		}
		if len(errs) == 0 && valid != nil {
			if err := valid(file, groups); err != nil {
				return nil, err
			}
		}
		all = append(all, groups...)
	}
	if wrong {
		return nil, statusError(exitFailed)
	}
	return all, nil
}

// inFile puts the file before a mistake: an editor finds its way to file:line:column.
func inFile(file string, err error) error {
	if text := err.Error(); text != "" && text[0] >= '0' && text[0] <= '9' {
		return fmt.Errorf("%s:%w", file, err)
	}
	return fmt.Errorf("%s: %w", file, err)
}

type rulesSyncCmd struct {
	Files       []string `arg:"" name:"files" help:"Rule files of Prometheus."`
	DryRun      bool     `help:"Only say what would be done."`
	Prune       bool     `help:"Delete the groups that are in none of the files."`
	rulesServer `embed:""`
}

// Help is shown by rules sync --help.
func (rulesSyncCmd) Help() string {
	return `All files are checked before anything is sent; groups that are the same stay untouched. Alerts of rules that stay go on. The API key needs the scopes read and write.

Examples:

    tokiflow rules sync --url https://tokiflow.example.org --api-key "$KEY" rules/*.yml
    tokiflow rules sync --dry-run --prune rules/*.yml`
}

// Run brings the server to what the files say.
func (s *rulesSyncCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	f := rules.NewFormat(true) // what the server does not know, it says
	want, have, err := s.both(ctx, e, f, s.Files)
	if err != nil {
		return err
	}
	say := func(what, name string) error {
		if s.DryRun {
			what = "would have " + what
		}
		_, err := fmt.Fprintf(e.stdout, "%s %q\n", what, name)
		return err
	}
	for _, name := range names(want) {
		what := "created"
		switch old, there := have[name]; {
		case there && old == want[name]:
			continue
		case there:
			what = "changed"
		}
		if !s.DryRun {
			if err := s.put(ctx, name, want[name]); err != nil {
				return fmt.Errorf("group %q: %w", name, err)
			}
		}
		if err := say(what, name); err != nil {
			return err
		}
	}
	for _, name := range names(have) {
		if _, kept := want[name]; kept {
			continue
		}
		if !s.Prune {
			if _, err := fmt.Fprintf(e.stdout, "kept %q, which is in none of the files: --prune deletes it\n", name); err != nil {
				return err
			}
			continue
		}
		if !s.DryRun {
			if err := s.delete(ctx, name); err != nil {
				return fmt.Errorf("group %q: %w", name, err)
			}
		}
		if err := say("deleted", name); err != nil {
			return err
		}
	}
	return nil
}

func names(groups map[string]string) []string {
	out := make([]string, 0, len(groups))
	for name := range groups {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

type rulesDiffCmd struct {
	Files       []string `arg:"" name:"files" help:"Rule files of Prometheus."`
	rulesServer `embed:""`
}

// Help is shown by rules diff --help.
func (rulesDiffCmd) Help() string {
	return `It prints a unified diff for each group that differs, from what the server has to what the files say, in a form in which order and comments of the YAML do not count, and leaves with status 1 if there is any. The API key needs the scope read.

Examples:

    tokiflow rules diff --url https://tokiflow.example.org --api-key "$KEY" rules/*.yml`
}

// Run prints the differences.
func (d *rulesDiffCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	want, have, err := d.both(ctx, e, rules.NewFormat(true), d.Files)
	if err != nil {
		return err
	}
	all := map[string]string{}
	for _, groups := range []map[string]string{want, have} {
		for name := range groups {
			all[name] = ""
		}
	}
	differs := false
	for _, name := range names(all) {
		if have[name] == want[name] {
			continue
		}
		differs = true
		if _, err := fmt.Fprint(e.stdout, unifiedDiff(fmt.Sprintf("server/%s", name), fmt.Sprintf("files/%s", name), have[name], want[name])); err != nil {
			return err
		}
	}
	if differs {
		return statusError(exitFailed)
	}
	return nil
}

type rulesTestCmd struct {
	Files                 []string `arg:"" name:"files" help:"Test files, as those of promtool test rules."`
	RuleTests             []string `name:"rule-tests" aliases:"run" placeholder:"REGEXP" help:"Run only the tests whose name matches one of these (also --run)."`
	IgnoreUnknownFields   bool     `help:"Pass over fields of rule files that are not known."`
	ExperimentalFunctions bool     `help:"Know the functions of PromQL that are experimental."`
}

// Help is shown by rules test --help.
func (rulesTestCmd) Help() string {
	return `It needs no server, and leaves with status 1 if a test fails. The form of the files is described at https://prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules/.

Examples:

    tokiflow rules test tests.yml
    tokiflow rules test --run 'disk.*' tests/*.yml`
}

// Run runs the tests.
func (c *rulesTestCmd) Run(ctx context.Context, e environment) error {
	ctx, stop := untilSignal(ctx)
	defer stop()
	o := ruletest.Options{IgnoreUnknownFields: c.IgnoreUnknownFields, Experimental: c.ExperimentalFunctions}
	if len(c.RuleTests) > 0 {
		re, err := regexp.Compile(strings.Join(c.RuleTests, "|"))
		if err != nil {
			return usageError{fmt.Errorf("--rule-tests: %w", err)}
		}
		o.Run = re
	}
	failed := false
	for _, file := range c.Files {
		r := ruletest.File(ctx, file, o)
		for _, w := range r.Warnings {
			if _, err := fmt.Fprintf(e.stderr, "%s: warning: %s\n", file, w); err != nil {
				return err
			}
		}
		if len(r.Errors) > 0 {
			failed = true
			if _, err := fmt.Fprintf(e.stderr, "%s: FAILED\n%s\n", file, indented(errors.Join(r.Errors...).Error())); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(e.stdout, "%s: passed, %d tests\n", file, r.Tests); err != nil {
			return err
		}
	}
	if failed {
		return statusError(exitFailed)
	}
	return nil
}

func indented(text string) string { return "  " + strings.ReplaceAll(text, "\n", "\n  ") }
