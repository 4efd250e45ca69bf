package alert

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokiflow/tokiflow/core/incident"
)

// What of an output goes into annotations, in bytes: its end, where programs say what went wrong.
const (
	maxOutput   = 1 << 10
	maxEvidence = 4 << 10
)

func incidentAnnotations(m Message) map[string]string {
	i := m.Data.Incident
	var e incident.Evidence
	if json.Unmarshal(i.Evidence, &e) != nil {
		e = incident.Evidence{} // then there is less to tell
	}
	return withoutEmpty(map[string]string{
		AnnotationSummary:     summary(m.Data.Monitor.Name, i.Kind, e),
		AnnotationDescription: description(i.Kind, e),
		AnnotationIncident:    i.ID.String(),
		AnnotationKind:        string(i.Kind),
		AnnotationEvidence:    evidence(e),
		AnnotationSlug:        m.Data.Monitor.Slug,
	})
}

// summary says in one line what a person asks first.
func summary(name string, k incident.Kind, e incident.Evidence) string {
	switch k {
	case incident.Missed:
		return name + " missed its deadline"
	case incident.Late:
		return name + " is late"
	case incident.Fail:
		if e.ExitCode != nil {
			return fmt.Sprintf("%s failed with exit status %d", name, *e.ExitCode)
		}
		return name + " failed"
	case incident.Overrun:
		if e.MaxRuntimeSeconds != nil {
			return name + " runs longer than " + seconds(*e.MaxRuntimeSeconds)
		}
		return name + " runs too long"
	case incident.Anomaly:
		return name + anomaly(e)
	}
	return name + ": " + string(k)
}

func anomaly(e incident.Evidence) string {
	if e.DurationSeconds == nil || e.MeanSeconds == nil {
		return " took unusually long or short"
	}
	how := "long"
	if *e.DurationSeconds < *e.MeanSeconds {
		how = "short"
	}
	return fmt.Sprintf(" took unusually %s: %s, usually %s", how, seconds(*e.DurationSeconds), seconds(*e.MeanSeconds))
}

// description lists what was known, a fact a line; the output comes last.
func description(k incident.Kind, e incident.Evidence) string {
	var b strings.Builder
	line := func(what, value string) {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(what + ": " + value)
	}
	instant := func(what string, at *time.Time) {
		if at != nil {
			line(what, at.UTC().Format(time.RFC3339))
		}
	}
	span := func(what string, s *float64) {
		if s != nil {
			line(what, seconds(*s))
		}
	}
	if k == incident.Missed || k == incident.Late { // of the others it would be the next run's
		instant("Due", e.DueAt)
		instant("Deadline", e.DeadlineAt)
	}
	switch {
	case e.LastPingAt != nil && e.LastPingKind != "":
		line("Last ping", e.LastPingKind+" at "+e.LastPingAt.UTC().Format(time.RFC3339))
	case e.LastPingAt != nil:
		instant("Last ping", e.LastPingAt)
	}
	instant("Run started", e.RunStartedAt)
	if e.ExitCode != nil {
		line("Exit status", strconv.Itoa(*e.ExitCode))
	}
	if e.FailuresInARow > 1 {
		line("Failures in a row", strconv.Itoa(e.FailuresInARow))
	}
	span("Duration", e.DurationSeconds)
	span("Max runtime", e.MaxRuntimeSeconds)
	span("Usually", e.MeanSeconds)
	if out := lastLines(e.Output, maxOutput); out != "" {
		if b.Len() > 0 {
			b.WriteByte('\n')
		}
		b.WriteString("Output:\n" + out)
	}
	return b.String()
}

// evidence is the JSON of it, with as much of the output's end as fits, or a little less.
func evidence(e incident.Evidence) string {
	e.Output = tail(e.Output, maxEvidence)
	b, err := json.Marshal(e)
	for err == nil && len(b) > maxEvidence && e.Output != "" {
		e.Output = tail(e.Output, len(e.Output)-1-(len(b)-maxEvidence)/6) // a byte takes six at most
		b, err = json.Marshal(e)
	}
	if err != nil || len(b) > maxEvidence || string(b) == "{}" {
		return ""
	}
	return string(b)
}

// lastLines is the end of a text, from the beginning of a line where there is one among its last n bytes.
func lastLines(s string, n int) string {
	s = strings.TrimSpace(strings.ToValidUTF8(s, "\uFFFD"))
	end := tail(s, n)
	if len(end) == len(s) {
		return s
	}
	if _, lines, ok := strings.Cut(end, "\n"); ok && strings.TrimSpace(lines) != "" {
		end = lines
	}
	return strings.TrimSpace(end)
}

// tail is the last n bytes of s at most, beginning with a whole character.
func tail(s string, n int) string {
	if n <= 0 {
		return ""
	}
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	for s != "" && !utf8.RuneStart(s[0]) {
		s = s[1:]
	}
	return s
}

// seconds is a span of time as a person says it: its two greatest units.
func seconds(s float64) string {
	if math.IsNaN(s) || math.IsInf(s, 0) || s < 0 || s > 1e9 {
		return strconv.FormatFloat(s, 'g', 3, 64) + "s"
	}
	if s < 10 {
		return strconv.FormatFloat(math.Round(s*100)/100, 'f', -1, 64) + "s"
	}
	left := int64(math.Round(s))
	var parts []string
	for _, u := range []struct {
		name string
		size int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}} {
		n := left / u.size
		left %= u.size
		if n > 0 {
			parts = append(parts, strconv.FormatInt(n, 10)+u.name)
		}
		if len(parts) == 2 || len(parts) == 1 && n == 0 {
			break
		}
	}
	return strings.Join(parts, " ")
}
