package admit

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tokiflow/tokiflow/core/series"
)

// Reason is why something was refused, as the metrics have it.
type Reason string

// The reasons.
const (
	BadLabels    Reason = "labels"
	BadTime      Reason = "time"
	BadHistogram Reason = "histogram"
	BadSeries    Reason = "series" // the message of the series makes no sense
	OverRate     Reason = "rate_limit"
	OverSeries   Reason = "series_limit"
)

// Reasons are all of them.
func Reasons() []Reason {
	return []Reason{BadLabels, BadTime, BadHistogram, BadSeries, OverRate, OverSeries}
}

// What the writer of the samples (tsdb/samples: maxName, MaxAge) would drop must be refused here: what is answered is stored.
const (
	maxMetricBytes = 1024
	maxAge         = (400*24 - 1) * time.Hour // an hour short of the writer's: its clock is another's
)

// Error is why a series, or samples of it, cannot be taken. The text names the series and is for its sender.
type Error struct {
	Reason Reason
	Text   string
}

// Error is the text.
func (e *Error) Error() string { return e.Text }

// Rules are the bounds of a series. Zero fields take the defaults.
type Rules struct {
	MaxLabels     int           // of a series, its name among them; by default 64
	MaxNameBytes  int           // of a label's name; by default 200
	MaxValueBytes int           // of a label's value; by default 2 KiB. A metric's name has maxMetricBytes at most
	MaxAhead      time.Duration // how far in the future a sample may be, by default an hour
}

// WithDefaults is r with the defaults in place of what is zero.
func (r Rules) WithDefaults() Rules {
	if r.MaxLabels == 0 {
		r.MaxLabels = 64
	}
	if r.MaxNameBytes == 0 {
		r.MaxNameBytes = 200
	}
	if r.MaxValueBytes == 0 {
		r.MaxValueBytes = 2 << 10
	}
	if r.MaxAhead == 0 {
		r.MaxAhead = time.Hour
	}
	return r
}

// Labels brings labels into the form in which they are stored and holds them to the rules: those without a value are left out,
// for they are the same as none; the others are sorted. It works in place. The error is a *Error.
func (r *Rules) Labels(l []series.Label) ([]series.Label, error) {
	kept := l[:0]
	sorted, named := true, false
	for i := range l {
		if l[i].Value == "" && l[i].Name != "" {
			continue
		}
		if text := r.label(&l[i]); text != "" {
			return nil, &Error{Reason: BadLabels, Text: "series " + Name(l) + ": " + text}
		}
		named = named || l[i].Name == series.NameLabel
		if n := len(kept); n > 0 && kept[n-1].Name >= l[i].Name {
			sorted = false
		}
		kept = append(kept, l[i])
	}
	if !sorted {
		series.Sort(kept)
		for i := 1; i < len(kept); i++ {
			if kept[i-1].Name == kept[i].Name {
				return nil, &Error{Reason: BadLabels, Text: fmt.Sprintf("series %s: the label %q stands there twice", Name(kept), kept[i].Name)}
			}
		}
	}
	if !named {
		return nil, &Error{Reason: BadLabels, Text: fmt.Sprintf("series %s: no label %s", Name(kept), series.NameLabel)}
	}
	if len(kept) > r.MaxLabels {
		return nil, &Error{Reason: BadLabels, Text: fmt.Sprintf("series %s: %d labels, %d are allowed", Name(kept), len(kept), r.MaxLabels)}
	}
	return kept, nil
}

// label says what is wrong with a label; "" is nothing.
func (r *Rules) label(l *series.Label) string {
	switch {
	case l.Name == "":
		return "a label has no name"
	case len(l.Name) > r.MaxNameBytes:
		return fmt.Sprintf("the label name %s has %d bytes, %d are allowed", quote(l.Name), len(l.Name), r.MaxNameBytes)
	case len(l.Value) > r.most(l.Name):
		return fmt.Sprintf("the value of label %s has %d bytes, %d are allowed", quote(l.Name), len(l.Value), r.most(l.Name))
	case !text(l.Name) || !text(l.Value):
		return fmt.Sprintf("the label %s is not UTF-8, or has a NUL in it", quote(l.Name))
	case l.Name[0] == '_' && Reserved(l.Name):
		return fmt.Sprintf("the label name %s is reserved: names that begin with __ are not stored", quote(l.Name))
	}
	return ""
}

// most is how many bytes a label's value may have.
func (r *Rules) most(name string) int {
	if name == series.NameLabel {
		return min(r.MaxValueBytes, maxMetricBytes)
	}
	return r.MaxValueBytes
}

// Reserved reports whether a label's name is one that nobody may give. What Prometheus itself adds with its feature
// type-and-unit-labels is not.
func Reserved(name string) bool {
	return strings.HasPrefix(name, "__") && name != series.NameLabel && name != "__type__" && name != "__unit__"
}

// text reports whether PostgreSQL can hold s.
func text(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// Time says whether a sample of that time, in milliseconds, can be taken. The text is the end of a sentence; "" is yes.
func (r *Rules) Time(at int64, now time.Time) string {
	if at < 0 {
		return fmt.Sprintf("the time %d is before 1970", at)
	}
	if at < now.Add(-maxAge).UnixMilli() {
		return fmt.Sprintf("the time %s is more than 400 days ago", time.UnixMilli(at).UTC().Format(time.RFC3339))
	}
	if at > now.Add(r.MaxAhead).UnixMilli() {
		return fmt.Sprintf("the time %s is more than %s ahead of ours", time.UnixMilli(at).UTC().Format(time.RFC3339), r.MaxAhead)
	}
	return ""
}

// Name is how a series is called in an error: its metric's name and its first labels, cut short.
func Name(l []series.Label) string {
	var name string
	if i := slices.IndexFunc(l, func(l series.Label) bool { return l.Name == series.NameLabel }); i >= 0 {
		name = short(l[i].Value)
	}
	var b strings.Builder
	for _, label := range l {
		if label.Name == series.NameLabel {
			continue
		}
		if b.Len() > 200 {
			b.WriteString(", …")
			break
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s=%s", short(label.Name), quote(label.Value))
	}
	return name + "{" + b.String() + "}"
}

func quote(s string) string { return fmt.Sprintf("%q", short(s)) }

// short cuts what nobody would read.
func short(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Metadata brings the description of a metric into a form that can be stored; false: it cannot be.
func (r *Rules) Metadata(m *series.Metadata) bool {
	if m.Name == "" || !text(m.Name) || len(m.Name) > r.most(series.NameLabel) {
		return false
	}
	m.Help, m.Unit = clean(m.Help, r.MaxValueBytes), clean(m.Unit, r.MaxNameBytes)
	return true
}

// clean makes text of s, of at most n bytes.
func clean(s string, n int) string {
	if len(s) > n {
		s = s[:n]
		for !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && len(s) > n-utf8.UTFMax {
			s = s[:len(s)-1]
		}
	}
	if text(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
