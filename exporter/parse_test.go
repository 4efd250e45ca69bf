package exporter_test

import (
	"errors"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	pmodel "github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/series"
)

const (
	acceptText        = "text/plain;version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProto       = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// samples are values by their series, written as Prometheus writes them.
type samples map[string]float64

func seriesOf(name string, pairs ...string) string {
	b := labels.NewBuilder(labels.EmptyLabels())
	b.Set(series.NameLabel, name)
	for i := 0; i < len(pairs); i += 2 {
		b.Set(pairs[i], pairs[i+1])
	}
	return b.Labels().String()
}

// asked is what core/metric says of the monitors at now: the truth that the answers are held against.
func asked(monitors []inventory.MonitorState, now time.Time) samples {
	out := samples{}
	for i := range monitors {
		m := &monitors[i]
		p := metric.PointOf(&m.State, now, m.GapSeconds)
		for _, f := range metric.Families() {
			if f.Type == metric.Info {
				var pairs []string
				for _, l := range metric.Labels(m.ID, m.Project, &m.Config) {
					if !pmodel.LegacyValidation.IsValidLabelName(l.Name) { // no configuration has such, and no series either
						continue
					}
					pairs = append(pairs, l.Name, strings.ReplaceAll(strings.ToValidUTF8(l.Value, "\uFFFD"), "\x00", "\uFFFD"))
				}
				out[seriesOf(f.Name, pairs...)] = 1
			}
			for _, s := range f.Series {
				l, ok := s.Line(&p)
				if !ok {
					continue
				}
				pairs := []string{"id", m.ID.String()}
				if s.Label != "" {
					pairs = append(pairs, s.Label, s.Value)
				}
				out[seriesOf(f.Name+s.Suffix, pairs...)] = l.Value(now)
			}
		}
	}
	return out
}

// scraped is what Prometheus reads of an answer: the samples of monitors, those of the answer itself, and the native histograms.
func scraped(t testing.TB, body []byte, contentType string) (of, own samples, native map[string]*histogram.Histogram) {
	t.Helper()
	p, err := textparse.New(body, contentType, nil, textparse.ParserOptions{KeepClassicOnClassicAndNativeHistograms: true})
	if err != nil {
		t.Fatal(err)
	}
	of, own, native = samples{}, samples{}, map[string]*histogram.Histogram{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return of, own, native
		}
		if err != nil {
			t.Fatalf("%v in\n%.2000s", err, body)
		}
		var l labels.Labels
		switch entry {
		case textparse.EntrySeries:
			_, at, v := p.Series()
			p.Labels(&l)
			into := of
			if strings.HasPrefix(l.Get(series.NameLabel), "tokiflow_exporter_") {
				into = own
			}
			if _, twice := into[l.String()]; twice || at != nil {
				t.Fatalf("%s: there twice (%t) or with a time (%v)", l, twice, at)
			}
			into[l.String()] = v
		case textparse.EntryHistogram:
			_, _, h, _ := p.Histogram()
			p.Labels(&l)
			native[l.String()] = h
		}
	}
}

func TestEveryFormatSaysWhatTheLinesSay(t *testing.T) {
	monitors := randomMonitors(130)
	monitors = append(monitors, plainMonitor(1), plainMonitor(2))
	s := newBundle(t)
	s.store.put(s.a, monitors...)
	want := asked(monitors, s.now)
	for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProto} {
		for range 2 { // written, and as it was kept
			w := s.ask("a", http.MethodGet, "/metrics/monitors", "Accept", accept)
			got, own, native := scraped(t, w.Body.Bytes(), w.Header().Get("Content-Type"))
			if !maps.Equal(want, got) {
				t.Fatalf("%s (-want +got):\n%.3000s", accept, cmp.Diff(want, got))
			}
			if n := own[seriesOf("tokiflow_exporter_series")]; n != float64(len(want)) || len(own) != 3 {
				t.Errorf("%s: it says of itself %v, want %d series", accept, own, len(want))
			}
			if accept == acceptProto {
				holdNative(t, monitors, native)
			}
		}
	}
}

// holdNative compares the native histograms with the totals.
func holdNative(t *testing.T, monitors []inventory.MonitorState, native map[string]*histogram.Histogram) {
	t.Helper()
	if len(native) != len(monitors) {
		t.Fatalf("%d native histograms of %d monitors", len(native), len(monitors))
	}
	for _, m := range monitors {
		h := native[seriesOf(metric.DurationName, "id", m.ID.String())]
		if h == nil {
			t.Fatalf("no native histogram of %s", m.ID)
		}
		if err := h.Validate(); err != nil {
			t.Fatal(err)
		}
		var want monitor.Histogram
		if m.State.Totals != nil {
			want = m.State.Totals.Durations
		}
		got := monitor.Histogram{Count: int64(h.Count), Sum: want.Sum, Zero: int64(h.ZeroCount)}
		for it := h.PositiveBucketIterator(); it.Next(); {
			b := it.At()
			got.Buckets = append(got.Buckets, monitor.Bucket{Index: b.Index, Count: int64(b.Count)})
			if lo := monitor.BucketBound(b.Index - 1); math.Abs(b.Lower/lo-1) > 1e-12 {
				t.Errorf("bucket %d begins at %g, want %g", b.Index, b.Lower, lo)
			}
		}
		if d := cmp.Diff(want, got); d != "" || h.Sum != want.Sum.Seconds() || h.Schema != monitor.HistogramSchema || h.CounterResetHint != histogram.UnknownCounterReset {
			t.Fatalf("native histogram %+v of %s (-want +got):\n%s", h, m.ID, d)
		}
	}
}

// TestClientGolangReadsIt holds the text and the protobuf against client_golang's parsers, which know families.
func TestClientGolangReadsIt(t *testing.T) {
	s := newBundle(t)
	monitors := randomMonitors(70)
	s.store.put(s.a, monitors...)
	p := expfmt.NewTextParser(pmodel.LegacyValidation)
	fromText, err := p.TextToMetricFamilies(strings.NewReader(s.get("a", "/metrics/monitors")))
	if err != nil {
		t.Fatal(err)
	}
	fromProto := map[string]*dto.MetricFamily{}
	d := expfmt.NewDecoder(strings.NewReader(s.get("a", "/metrics/monitors", "Accept", acceptProto)), expfmt.NewFormat(expfmt.TypeProtoDelim))
	for {
		var f dto.MetricFamily
		if err := d.Decode(&f); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if fromProto[f.GetName()] != nil {
			t.Errorf("%s is there twice", f.GetName())
		}
		fromProto[f.GetName()] = &f
	}
	for _, f := range metric.Families() {
		a, b := fromText[f.Name], fromProto[f.Name]
		if a == nil || b == nil {
			t.Fatalf("%s is missing", f.Name)
		}
		if a.GetType() != b.GetType() || a.GetHelp() != f.Help || b.GetHelp() != f.Help || b.GetUnit() != f.Unit || len(a.Metric) != len(b.Metric) {
			t.Errorf("%s: %d metrics of type %v, %q in text; %d of type %v, %q, unit %q in protobuf", f.Name,
				len(a.Metric), a.GetType(), a.GetHelp(), len(b.Metric), b.GetType(), b.GetHelp(), b.GetUnit())
		}
	}
	if len(fromText) != len(metric.Families())+3 || len(fromProto) != len(fromText) {
		t.Errorf("%d families in text, %d in protobuf, want %d", len(fromText), len(fromProto), len(metric.Families())+3)
	}
}

// TestChangesAreSeen puts random monitors into random states, and scrapes in all formats and encodings between.
func TestChangesAreSeen(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	s := newBundle(t)
	monitors := randomMonitors(80)
	s.store.put(s.a, monitors...)
	for round := range 12 {
		s.now = s.now.Add(3 * time.Second)
		for range r.IntN(20) {
			i := r.IntN(len(monitors))
			switch r.IntN(8) {
			case 0: // another in its place
				s.store.remove(s.a, monitors[i].ID)
				monitors[i] = randomMonitor(r, i)
			case 1:
				monitors[i].Project = "project-" + string(rune('0'+r.IntN(4)))
			case 2:
				monitors[i].Config.Name += "'"
			default:
				monitors[i].State = monitor.State{}
				randomState(r, &monitors[i].State)
			}
			s.store.put(s.a, monitors[i])
		}
		want := asked(monitors, s.now)
		for _, accept := range []string{acceptText, acceptProto} {
			w := s.ask("a", http.MethodGet, "/metrics/monitors", "Accept", accept, "Accept-Encoding", []string{"gzip", "zstd", ""}[round%3])
			got, _, _ := scraped(t, unpacked(t, w), w.Header().Get("Content-Type"))
			if !maps.EqualFunc(want, got, near) {
				t.Fatalf("round %d (-want +got):\n%.3000s", round, cmp.Diff(want, got, cmp.Comparer(near)))
			}
		}
	}
}

// near takes values for equal that differ in what rounding does to a line that was drawn from another instant.
func near(a, b float64) bool { return a == b || math.Abs(a-b) <= 1e-12*math.Abs(a) }

func FuzzAnyConfigIsReadBack(f *testing.F) {
	f.Add("a name", "slug", "tag", "key", "value", int64(1))
	f.Add("\"quoted\" \\ and\nbroken\r", "s", "a,b", "le", "\x00\xff\\n", int64(2))
	f.Add("{}=,# EOF\n# HELP x", "", "\u2028", "__name__", "日本", int64(3))
	f.Fuzz(func(t *testing.T, name, slug, tag, key, value string, seed int64) {
		s := newBundle(t)
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		m := randomMonitor(r, 1)
		m.ID = uuid.Max
		m.Config.Name, m.Config.Slug, m.Config.Tags = name, slug, []string{tag}
		m.Config.Labels = map[string]string{"own": name, key: value}
		m.Project = value
		s.store.put(s.a, m)
		want := asked([]inventory.MonitorState{m}, s.now)
		for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProto} {
			w := s.ask("a", http.MethodGet, "/metrics/monitors", "Accept", accept)
			got, _, _ := scraped(t, w.Body.Bytes(), w.Header().Get("Content-Type"))
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("%s (-want +got):\n%s", accept, d)
			}
		}
		p := expfmt.NewTextParser(pmodel.LegacyValidation)
		if _, err := p.TextToMetricFamilies(strings.NewReader(s.get("a", "/metrics/monitors"))); err != nil {
			t.Fatal(err)
		}
	})
}
