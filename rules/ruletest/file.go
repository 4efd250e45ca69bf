// Package ruletest runs Prometheus' unit tests of rules: files of input series, expected alerts and expected values, as promtool has
// them, on its engine and our state machine.
package ruletest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/rules"
)

// Options of a run.
type Options struct {
	Run                 *regexp.Regexp // the names of the tests to run; nil: all
	IgnoreUnknownFields bool           // in rule files
	Experimental        bool           // with experimental functions
}

// Report is what came of one test file. It passed if there are no errors.
type Report struct {
	Warnings []string
	Errors   []error
	Tests    int // that were run
}

// testFile is the form of a test file.
type testFile struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval,omitempty"`
	GroupEvalOrder     []string       `yaml:"group_eval_order"`
	Tests              []test         `yaml:"tests"`
	FuzzyCompare       bool           `yaml:"fuzzy_compare,omitempty"`
}

// test is one element of tests.
type test struct {
	Interval       model.Duration    `yaml:"interval"`
	InputSeries    []inputSeries     `yaml:"input_series"`
	AlertRuleTests []alertTest       `yaml:"alert_rule_test,omitempty"`
	ExprTests      []exprTest        `yaml:"promql_expr_test,omitempty"`
	ExternalLabels map[string]string `yaml:"external_labels,omitempty"`
	ExternalURL    string            `yaml:"external_url,omitempty"`
	Name           string            `yaml:"name,omitempty"`
	Start          start             `yaml:"start_timestamp,omitempty"`
}

type inputSeries struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type alertTest struct {
	EvalTime  model.Duration  `yaml:"eval_time"`
	Alertname string          `yaml:"alertname"`
	Expected  []expectedAlert `yaml:"exp_alerts"`
}

type expectedAlert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

type exprTest struct {
	Expr     string           `yaml:"expr"`
	EvalTime model.Duration   `yaml:"eval_time"`
	Expected []expectedSample `yaml:"exp_samples"`
}

type expectedSample struct {
	Labels    string  `yaml:"labels"`
	Value     float64 `yaml:"value"`
	Histogram string  `yaml:"histogram"` // not empty: Value does not count
}

// start is when a test begins: RFC 3339 or seconds since 1970.
type start struct{ time.Time }

// UnmarshalYAML reads either form.
func (s *start) UnmarshalYAML(n *yaml.Node) error {
	if f, err := strconv.ParseFloat(n.Value, 64); err == nil {
		whole, part := math.Modf(f)
		s.Time = time.Unix(int64(whole), int64(part*float64(time.Second))).UTC()
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, n.Value)
	if err != nil {
		return fmt.Errorf("%d:%d: cannot parse %q to a valid timestamp", n.Line, n.Column, n.Value)
	}
	s.Time = t
	return nil
}

// File runs the tests of one file. Rule files are looked for from the folder of the file on.
func File(ctx context.Context, name string, o Options) Report {
	var r Report
	content, err := os.ReadFile(name) //nolint:gosec // the file that the user named
	if err != nil {
		return Report{Errors: []error{err}}
	}
	f, err := parse(content)
	if err != nil {
		return Report{Errors: []error{err}}
	}
	files, warnings, err := ruleFiles(filepath.Dir(name), f.RuleFiles)
	r.Warnings = warnings
	if err != nil {
		r.Errors = []error{err}
		return r
	}
	order := map[string]int{}
	for i, g := range f.GroupEvalOrder {
		if _, twice := order[g]; twice {
			r.Errors = []error{fmt.Errorf("group name repeated in evaluation order: %s", g)}
			return r
		}
		order[g] = i
	}
	options := parser.Options{EnableExperimentalFunctions: o.Experimental}
	for i := range f.Tests {
		t := &f.Tests[i]
		if o.Run != nil && !o.Run.MatchString(t.Name) {
			continue
		}
		if t.Interval == 0 {
			t.Interval = f.EvaluationInterval
		}
		r.Tests++
		groups, errs := load(files, o)
		if len(errs) == 0 {
			b := newBench(t, groups, order, time.Duration(f.EvaluationInterval), f.FuzzyCompare, parser.NewParser(options))
			errs = b.run(ctx)
		}
		for _, err := range errs {
			r.Errors = append(r.Errors, named(t.Name, i, err))
		}
	}
	return r
}

func named(name string, i int, err error) error {
	if name == "" {
		name = fmt.Sprintf("unnamed#%d", i)
	}
	return fmt.Errorf("test %s: %w", name, err)
}

func parse(content []byte) (f testFile, err error) {
	d := yaml.NewDecoder(bytes.NewReader(content))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return f, err
	}
	if f.EvaluationInterval == 0 {
		f.EvaluationInterval = model.Duration(time.Minute)
	}
	return f, nil
}

func ruleFiles(folder string, patterns []string) (files, warnings []string, err error) {
	for _, p := range patterns {
		if p != "" && !filepath.IsAbs(p) {
			p = filepath.Join(folder, p)
		}
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, warnings, fmt.Errorf("%s: %w", p, err)
		}
		if len(found) == 0 {
			warnings = append(warnings, "no file matches "+p)
		}
		files = append(files, found...)
	}
	return files, warnings, nil
}

func load(files []string, o Options) (groups []rule.Group, errs []error) {
	format := rules.NewFormat(o.Experimental)
	for _, file := range files {
		content, err := os.ReadFile(file) //nolint:gosec // a file that the user's test names
		if err != nil {
			return nil, []error{err}
		}
		read := format.ParseFile
		if o.IgnoreUnknownFields {
			read = format.ParseFileLoosely
		}
		some, wrong := read(content)
		for _, err := range wrong {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
		groups = append(groups, some...)
	}
	return groups, errs
}
