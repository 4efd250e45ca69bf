package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/core/rule"
)

// Format reads and writes Prometheus' rule files. Safe for concurrent use.
type Format struct {
	parser parser.Parser
}

// NewFormat returns a Format for expressions of Prometheus' language as it is by default or, with experimental, with the
// functions that are experimental.
func NewFormat(experimental bool) *Format {
	return &Format{parser: newParser(experimental)}
}

func newParser(experimental bool) parser.Parser {
	return parser.NewParser(parser.Options{EnableExperimentalFunctions: experimental})
}

// Bounds of what is taken.
const (
	maxGroupName = 500 // bytes
	minInterval  = time.Second
)

// ParseFile reads a rule file. The errors name lines and columns, as promtool's do. Of several YAML documents it reads the first, as
// Prometheus does; Lint tells.
func (f *Format) ParseFile(content []byte) ([]rule.Group, []error) {
	return f.parseFile(content, false)
}

// ParseFileLoosely is ParseFile, but passes over fields that are not known.
func (f *Format) ParseFileLoosely(content []byte) ([]rule.Group, []error) {
	return f.parseFile(content, true)
}

func (f *Format) parseFile(content []byte, loosely bool) (groups []rule.Group, errs []error) {
	defer notPanicking(&errs)
	parsed, errs := rulefmt.Parse(content, loosely, model.UTF8Validation, f.parser, slog.New(slog.DiscardHandler))
	if len(errs) > 0 { // rulefmt reads the text twice, and says what is no YAML of its kind as often
		return nil, slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })
	}
	for _, g := range parsed.Groups {
		groups = append(groups, groupOf(g))
	}
	return groups, nil
}

// groupDocument is one group with the places of its rules, as rulefmt wants it to name lines and columns.
type groupDocument struct {
	plain  rulefmt.RuleGroup
	placed rulefmt.RuleGroupNode
}

// ParseGroup reads one group in YAML or JSON: an element of the list `groups` of a rule file. Its name may be left out and is
// otherwise that given. Nothing is taken of a group with an error. The errors name lines and columns.
func (f *Format) ParseGroup(name string, content []byte) (_ rule.Group, errs []error) {
	defer notPanicking(&errs)
	if err := CheckName(name); err != nil {
		return rule.Group{}, []error{err}
	}
	d, err := decodeGroup(content)
	if err != nil {
		return rule.Group{}, []error{err}
	}
	switch d.plain.Name {
	case name:
	case "":
		d.plain.Name = name
	default:
		return rule.Group{}, []error{fmt.Errorf("the group is named %q, but is sent as %q", d.plain.Name, name)}
	}
	if errs := f.check(d); len(errs) > 0 {
		return rule.Group{}, errs
	}
	g := groupOf(d.plain)
	return g, Fit(g)
}

// CheckName says what is wrong with a group's name.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a group needs a name")
	case len(name) > maxGroupName:
		return fmt.Errorf("a group's name may have %d bytes at most", maxGroupName)
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return errors.New("a group's name must be UTF-8 without NUL")
	}
	return nil
}

// Fit says what keeps a group that Prometheus would take from being evaluated here.
func Fit(g rule.Group) []error {
	var errs []error
	if err := CheckName(g.Name); err != nil {
		errs = append(errs, err)
	}
	if g.Every() < minInterval {
		errs = append(errs, fmt.Errorf("group %q: the interval %s is too short: %s is the least", g.Name, g.Interval, minInterval))
	}
	if g.Offset() < 0 {
		errs = append(errs, fmt.Errorf("group %q: query_offset must not be negative", g.Name))
	}
	for i, d := range g.Rules {
		if d.For < 0 || d.KeepFiringFor < 0 {
			errs = append(errs, fmt.Errorf("group %q, rule %d, %q: for and keep_firing_for must not be negative", g.Name, i+1, d.Name()))
		}
		for _, text := range append([]string{d.Expr, d.Name()}, valuesOf(g.Labels, d.Labels, d.Annotations)...) {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				errs = append(errs, fmt.Errorf("group %q, rule %d, %q: every text must be UTF-8 without NUL", g.Name, i+1, d.Name()))
				break
			}
		}
	}
	return errs
}

func valuesOf(maps ...map[string]string) []string {
	var out []string
	for _, m := range maps {
		for k, v := range m {
			out = append(out, k, v)
		}
	}
	return out
}

func decodeGroup(content []byte) (d groupDocument, err error) {
	root, err := oneDocument(content)
	if err != nil {
		return d, err
	}
	if root == nil || root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return d, errors.New("the group is empty")
	}
	for i := 0; root.Kind == yaml.MappingNode && i+1 < len(root.Content); i += 2 {
		if key := root.Content[i]; key.Value == "groups" {
			return d, fmt.Errorf("%d:%d: this is a rule file: send one element of its list groups", key.Line, key.Column)
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&d.plain); err != nil {
		return d, err
	}
	return d, yaml.Unmarshal(content, &d.placed)
}

// oneDocument returns the root of a YAML document, nil where there is none. It refuses several documents: Prometheus reads the first
// and passes over the rest.
func oneDocument(content []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var first, second yaml.Node
	if err := decoder.Decode(&first); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, err
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, fmt.Errorf("%d:%d: there is a second YAML document: only one is read", second.Line, second.Column)
	}
	if len(first.Content) == 0 {
		return nil, nil
	}
	return first.Content[0], nil
}

// check is rulefmt's validation of one group.
func (f *Format) check(d groupDocument) []error {
	var errs []error
	for k, v := range d.plain.Labels {
		if !model.UTF8Validation.IsValidLabelName(k) || k == model.MetricNameLabel {
			errs = append(errs, fmt.Errorf("invalid label name: %s", k))
		}
		if !model.LabelValue(v).IsValid() {
			errs = append(errs, fmt.Errorf("invalid label value: %s", v))
		}
	}
	if len(d.placed.Rules) != len(d.plain.Rules) {
		return append(errs, errors.New("the rules cannot be read: write them without anchors and merge keys"))
	}
	for i, r := range d.plain.Rules {
		for _, wrong := range r.Validate(d.placed.Rules[i], model.UTF8Validation, f.parser) {
			name := r.Alert
			if name == "" {
				name = r.Record
			}
			errs = append(errs, &rulefmt.Error{Group: d.plain.Name, Rule: i + 1, RuleName: name, Err: wrong})
		}
	}
	return errs
}

// notPanicking makes an error of a panic of those who read the YAML.
func notPanicking(errs *[]error) {
	if r := recover(); r != nil {
		*errs = append(*errs, fmt.Errorf("the rules cannot be read: %v", r))
	}
}

// MarshalGroup writes one group as ParseGroup reads it.
func (f *Format) MarshalGroup(g rule.Group) ([]byte, error) { return marshal(ruleGroup(g)) }

// MarshalFile writes a rule file.
func (f *Format) MarshalFile(groups []rule.Group) ([]byte, error) {
	file := rulefmt.RuleGroups{Groups: make([]rulefmt.RuleGroup, len(groups))}
	for i, g := range groups {
		file.Groups[i] = ruleGroup(g)
	}
	return marshal(file)
}

func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func groupOf(g rulefmt.RuleGroup) rule.Group {
	out := rule.Group{
		Name: g.Name, Interval: time.Duration(g.Interval), QueryOffset: (*time.Duration)(g.QueryOffset), Limit: g.Limit,
		Labels: g.Labels, Rules: make([]rule.Definition, len(g.Rules)),
	}
	for i, r := range g.Rules {
		out.Rules[i] = rule.Definition{
			Record: r.Record, Alert: r.Alert, Expr: r.Expr, For: time.Duration(r.For), KeepFiringFor: time.Duration(r.KeepFiringFor),
			Labels: r.Labels, Annotations: r.Annotations,
		}
	}
	return out
}

func ruleGroup(g rule.Group) rulefmt.RuleGroup {
	out := rulefmt.RuleGroup{
		Name: g.Name, Interval: model.Duration(g.Interval), QueryOffset: (*model.Duration)(g.QueryOffset), Limit: g.Limit,
		Labels: g.Labels, Rules: make([]rulefmt.Rule, len(g.Rules)),
	}
	for i, r := range g.Rules {
		out.Rules[i] = rulefmt.Rule{
			Record: r.Record, Alert: r.Alert, Expr: r.Expr, For: model.Duration(r.For), KeepFiringFor: model.Duration(r.KeepFiringFor),
			Labels: r.Labels, Annotations: r.Annotations,
		}
	}
	return out
}
