package metric_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/metric"
)

// TestFamiliesAreWellFormed: as promtool check metrics and OpenMetrics 1.0 want them.
func TestFamiliesAreWellFormed(t *testing.T) {
	families := metric.Families()
	seen := map[string]bool{}
	for i := range families {
		f := &families[i]
		if !model.LegacyValidation.IsValidMetricName(f.Name) || !strings.HasPrefix(f.Name, "tokiflow_monitor_") || strings.Contains(f.Name, "__") {
			t.Errorf("%s is no good name", f.Name)
		}
		if seen[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		seen[f.Name] = true
		if first := []rune(f.Help + " ")[0]; !strings.HasSuffix(f.Help, ".") || !unicode.IsUpper(first) && !unicode.IsDigit(first) {
			t.Errorf("%s: the help is no sentence: %q", f.Name, f.Help)
		}
		if f.Unit != "" && !strings.HasSuffix(f.Name, "_"+f.Unit) {
			t.Errorf("%s does not end in its unit %s", f.Name, f.Unit)
		}
		if f.Unit == "" && strings.HasSuffix(f.Name, "_seconds") {
			t.Errorf("%s has a unit in its name alone", f.Name)
		}
		if total := strings.HasSuffix(f.Name, "_total"); total != (f.Type == metric.Counter) {
			t.Errorf("%s is a %s", f.Name, f.Type)
		}
		if info := f.Type == metric.Info; info != (f.Name == metric.InfoName) || info != strings.HasSuffix(f.Name, "_info") || info != (len(f.Series) == 0) {
			t.Errorf("%s is a %s of %d series", f.Name, f.Type, len(f.Series))
		}
		if (f.Type == metric.Histogram) != (f.Name == metric.DurationName) {
			t.Errorf("%s is a %s", f.Name, f.Type)
		}
		checkSeries(t, f)
	}
	for name := range seen { // a classic histogram's names are its own
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if seen[name+suffix] {
				t.Errorf("%s%s may be taken for a part of %s", name, suffix, name)
			}
		}
	}
}

func checkSeries(t *testing.T, f *metric.Family) {
	t.Helper()
	type key struct{ suffix, label, value string }
	seen := map[key]bool{}
	labels := map[string]string{} // of a suffix
	for _, s := range f.Series {
		k := key{s.Suffix, s.Label, s.Value}
		if seen[k] {
			t.Errorf("%s: %v is there twice", f.Name, k)
		}
		seen[k] = true
		if other, ok := labels[s.Suffix]; ok && other != s.Label {
			t.Errorf("%s%s has the label %q here and %q there", f.Name, s.Suffix, s.Label, other)
		}
		labels[s.Suffix] = s.Label
		if (s.Label == "") != (s.Value == "") || s.Label != "" && !model.LegacyValidation.IsValidLabelName(s.Label) || s.Label == metric.LabelID {
			t.Errorf("%s: %q=%q", f.Name, s.Label, s.Value)
		}
		if s.Line == nil {
			t.Errorf("%s: %v is worth nothing", f.Name, k)
		}
		if (s.Suffix != "") != (f.Type == metric.Histogram) || (s.Label == "le") != (s.Suffix == "_bucket") {
			t.Errorf("%s, a %s, has %v", f.Name, f.Type, k)
		}
	}
}

// TestFamiliesAreTheCallers: nobody's change reaches another.
func TestFamiliesAreTheCallers(t *testing.T) {
	metric.Families()[1].Series[0].Value = "changed"
	if metric.Families()[1].Series[0].Value == "changed" {
		t.Error("families are shared")
	}
}

func TestFormatFloat(t *testing.T) {
	for v, want := range map[float64]string{
		0.0625: "0.0625", 0.25: "0.25", 1: "1.0", 65536: "65536.0", 1e21: "1e+21", 0: "0.0", -2: "-2.0", 1.5e-9: "1.5e-09", 100000: "100000.0",
	} {
		if got := metric.FormatFloat(v); got != want {
			t.Errorf("FormatFloat(%v) = %s, want %s", v, got, want)
		}
	}
}
