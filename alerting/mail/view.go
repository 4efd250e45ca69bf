package mail

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/recipient"
)

// How much of a message's alerts is shown.
const (
	maxDetailed = 10  // with their facts
	maxListed   = 100 // on a line each
	maxOutput   = 20  // lines of a program's output
)

// view is what a mail shows. Its texts are clean: printable, and on one line where they belong on one.
type view struct {
	Title       string
	Lead        string // a sentence below the title; may be empty
	Sections    []section
	Receiver    string
	Group       string // labels by which it is grouped; may be empty
	Address     string
	URL         string // of the alerts; may be empty
	Unsubscribe string
}

type section struct {
	Heading string // empty: the title says it
	Items   []item
	Lines   []string // further ones, on a line each
	More    int      // those left out
}

type item struct {
	Firing      bool
	Headline    string
	Facts       []fact
	Description string // may have several lines
	Output      []string
	URL         string
}

type fact struct{ Name, Value string }

// clock writes times for a reader: in the reader's zone, without the date where it is today's.
type clock struct {
	now time.Time
	loc *time.Location
}

func (c clock) at(t time.Time) string {
	t, now := t.In(c.loc), c.now.In(c.loc)
	switch {
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return t.Format("15:04 MST")
	case t.Year() == now.Year():
		return t.Format("2 Jan 15:04 MST")
	}
	return t.Format("2 Jan 2006 15:04 MST")
}

// duration is in two units at most.
func duration(d time.Duration) string {
	const aDay = 24 * time.Hour
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < aDay:
		return joined(fmt.Sprintf("%d h", d/time.Hour), d%time.Hour/time.Minute, "min")
	}
	return joined(fmt.Sprintf("%d d", d/aDay), d%aDay/time.Hour, "h")
}

func joined(first string, n time.Duration, unit string) string {
	if n == 0 {
		return first
	}
	return fmt.Sprintf("%s %d %s", first, n, unit)
}

func seconds(s float64) string { return duration(time.Duration(s * float64(time.Second))) }

// kindOf is the kind that a recipient chooses by.
func kindOf(a recipient.Alert) string {
	if k := a.Annotations[alert.AnnotationKind]; slices.Contains(recipient.Kinds(), k) {
		return k
	}
	return recipient.Other
}

// tag is what stands in brackets before a subject.
func tag(a recipient.Alert) string {
	if !a.EndsAt.IsZero() {
		return "recovered"
	}
	if k := kindOf(a); k != recipient.Other {
		return k
	}
	return "firing"
}

func name(a recipient.Alert) string {
	for _, s := range []string{a.Labels[alert.LabelMonitor], a.Labels[alert.LabelName]} {
		if s = oneLine(s, 80); s != "" {
			return s
		}
	}
	return "alert"
}

func headline(a recipient.Alert, c clock) string {
	if !a.EndsAt.IsZero() {
		return fmt.Sprintf("%s recovered at %s, after %s", name(a), c.at(a.EndsAt), duration(a.EndsAt.Sub(a.StartsAt)))
	}
	since := c.at(a.StartsAt)
	switch incident.Kind(kindOf(a)) {
	case incident.Missed:
		return name(a) + " is missed since " + since
	case incident.Late:
		return name(a) + " is late since " + since
	case incident.Fail:
		return name(a) + " failed at " + since
	case incident.Overrun:
		return name(a) + " runs for too long, since " + since
	case incident.Anomaly:
		return name(a) + " took an unusual time, at " + since
	}
	return name(a) + " fires since " + since
}

// show makes the item of an alert.
func show(a recipient.Alert, c clock) item {
	i := item{Firing: a.EndsAt.IsZero(), Headline: headline(a, c), URL: link(a.GeneratorURL)}
	add := func(name, value string) {
		if value = oneLine(value, 200); value != "" {
			i.Facts = append(i.Facts, fact{name, value})
		}
	}
	add("Project", a.Labels[alert.LabelProject])
	add("Severity", a.Labels[alert.LabelSeverity])
	add("Tags", strings.ReplaceAll(strings.Trim(a.Labels[alert.LabelTags], ","), ",", ", "))
	if !i.Firing {
		add("Since", c.at(a.StartsAt))
	}
	if kindOf(a) == recipient.Other {
		i.rest(a, add)
	} else {
		var e incident.Evidence
		if json.Unmarshal([]byte(a.Annotations[alert.AnnotationEvidence]), &e) == nil {
			i.evidence(e, c, add)
		}
	}
	if by := a.Annotations[alert.AnnotationAckBy]; by != "" && i.Firing {
		add("Acknowledged", "by "+by)
	}
	return i
}

// evidence adds what was known when an incident opened.
func (i *item) evidence(e incident.Evidence, c clock, add func(name, value string)) {
	when := func(name string, t *time.Time, more string) {
		if t != nil {
			add(name, c.at(*t)+more)
		}
	}
	when("Due", e.DueAt, "")
	when("Deadline", e.DeadlineAt, "")
	kind := ""
	if e.LastPingKind != "" {
		kind = ", " + e.LastPingKind
	}
	when("Last ping", e.LastPingAt, kind)
	when("Run started", e.RunStartedAt, "")
	if e.ExitCode != nil {
		add("Exit status", fmt.Sprint(*e.ExitCode))
	}
	if e.FailuresInARow > 1 {
		add("Failures", fmt.Sprintf("%d in a row", e.FailuresInARow))
	}
	if e.DurationSeconds != nil {
		add("Took", seconds(*e.DurationSeconds))
	}
	if e.MeanSeconds != nil {
		add("Usually", seconds(*e.MeanSeconds))
	}
	if e.MaxRuntimeSeconds != nil {
		add("At most", seconds(*e.MaxRuntimeSeconds))
	}
	if output := strings.TrimSpace(clean(e.Output)); output != "" && i.Firing {
		i.Output = strings.Split(output, "\n")
		if cut := len(i.Output) - maxOutput; cut > 0 {
			i.Output = append([]string{fmt.Sprintf("… %d lines above", cut)}, i.Output[cut:]...)
		}
	}
}

// rest shows the labels and annotations of an alert that is no incident's.
func (i *item) rest(a recipient.Alert, add func(name, value string)) {
	for _, name := range sorted(a.Labels) {
		switch name {
		case alert.LabelName, alert.LabelProject, alert.LabelSeverity, alert.LabelTags:
		default:
			add(oneLine(name, 40), a.Labels[name])
		}
	}
	var texts []string
	for _, name := range []string{alert.AnnotationSummary, alert.AnnotationDescription} {
		if s := strings.TrimSpace(clean(a.Annotations[name])); s != "" {
			texts = append(texts, cut(s, 2000))
		}
	}
	i.Description = strings.Join(texts, "\n\n")
}

func sorted(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// subject is that of a mail about the alerts.
func subject(alerts []recipient.Alert, group map[string]string, c clock) string {
	if len(alerts) == 1 {
		a := alerts[0]
		in := ""
		if project := oneLine(a.Labels[alert.LabelProject], 60); project != "" {
			in = " (" + project + ")"
		}
		if a.EndsAt.IsZero() {
			return fmt.Sprintf("[%s] %s%s — since %s", tag(a), name(a), in, c.at(a.StartsAt))
		}
		return fmt.Sprintf("[%s] %s%s — %s, after %s", tag(a), name(a), in, c.at(a.EndsAt), duration(a.EndsAt.Sub(a.StartsAt)))
	}
	return fmt.Sprintf("[%s] %s", counts(alerts, "firing"), about(alerts, group))
}

// counts is "3 firing, 1 recovered".
func counts(alerts []recipient.Alert, firing string) string {
	n := 0
	for _, a := range alerts {
		if a.EndsAt.IsZero() {
			n++
		}
	}
	var parts []string
	if n > 0 {
		parts = append(parts, fmt.Sprintf("%d %s", n, firing))
	}
	if n < len(alerts) {
		parts = append(parts, fmt.Sprintf("%d recovered", len(alerts)-n))
	}
	return strings.Join(parts, ", ")
}

// about names a group, and what is in it.
func about(alerts []recipient.Alert, group map[string]string) string {
	var of []string
	for _, name := range sorted(group) {
		if v := oneLine(group[name], 60); v != "" {
			of = append(of, v)
		}
	}
	var names []string
	for _, a := range alerts {
		if n := name(a); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	list := strings.Join(names[:min(3, len(names))], ", ")
	if len(names) > 3 {
		list += fmt.Sprintf(" and %d more", len(names)-3)
	}
	if len(of) == 0 {
		return list
	}
	return strings.Join(of, " ") + " — " + list
}

// groupText is "project=db, severity=critical".
func groupText(group map[string]string) string {
	var parts []string
	for _, name := range sorted(group) {
		parts = append(parts, oneLine(name, 60)+"="+oneLine(group[name], 80))
	}
	return strings.Join(parts, ", ")
}

// sections part the alerts into those that fire and those that recovered, the oldest first.
func sections(alerts []recipient.Alert, c clock, detailed bool) []section {
	var firing, recovered section
	shown := 0
	for _, a := range alerts {
		s := &firing
		if !a.EndsAt.IsZero() {
			s = &recovered
		}
		switch {
		case detailed && shown < maxDetailed:
			s.Items = append(s.Items, show(a, c))
		case shown < maxListed:
			s.Lines = append(s.Lines, headline(a, c)+inProject(a))
		default:
			s.More++
		}
		shown++
	}
	var out []section
	for heading, s := range map[string]section{"Firing": firing, "Recovered": recovered} {
		if len(s.Items)+len(s.Lines)+s.More > 0 {
			s.Heading = heading
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b section) int { return strings.Compare(a.Heading, b.Heading) })
	if len(alerts) == 1 {
		out[0].Heading = ""
	}
	return out
}

func inProject(a recipient.Alert) string {
	if p := oneLine(a.Labels[alert.LabelProject], 60); p != "" {
		return " (" + p + ")"
	}
	return ""
}
