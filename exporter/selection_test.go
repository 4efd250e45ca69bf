package exporter_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/exporter"
)

// fleetOf is monitors 0 to n-1 in three projects, tagged and labelled by what their numbers can be divided by.
func fleetOf(n int) []inventory.MonitorState {
	var all []inventory.MonitorState
	for i := range n {
		m := plainMonitor(i)
		m.Project = []string{"shop", "web", "it"}[i%3]
		m.Config.Labels = map[string]string{"parity": []string{"even", "odd"}[i%2], "path": "a=b"}
		if i%2 == 0 {
			m.Config.Tags = append(m.Config.Tags, "even")
		}
		if i%5 == 0 {
			m.Config.Tags = append(m.Config.Tags, "five,even")
		}
		all = append(all, m)
	}
	return all
}

// chosen are the numbers of the monitors that have a sample of the metric in the answer.
func chosen(t *testing.T, answer, name string) []int {
	t.Helper()
	found := []int{}
	for line := range strings.SplitSeq(answer, "\n") {
		if rest, ok := strings.CutPrefix(line, name+`{id="`); ok {
			n, err := strconv.ParseUint(rest[24:36], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, int(n))
		}
	}
	slices.Sort(found)
	return found
}

func TestFilters(t *testing.T) {
	const n = 300
	s := newBundle(t)
	s.store.put(s.a, fleetOf(n)...)
	for _, c := range []struct {
		query string
		want  func(i int) bool
	}{
		{"", func(int) bool { return true }},
		{"project[]=shop", func(i int) bool { return i%3 == 0 }},
		{"project[]=shop&project[]=it", func(i int) bool { return i%3 != 1 }},
		{"project=shop&project[]=it", func(i int) bool { return i%3 != 1 }},
		{"project[]=nowhere", func(int) bool { return false }},
		{"project[]=", func(int) bool { return false }},
		{"tag[]=even", func(i int) bool { return i%2 == 0 }},
		{"tag[]=five", func(int) bool { return false }},
		{"tag[]=five,even", func(i int) bool { return i%5 == 0 }},
		{"tag[]=even&tag[]=five,even", func(i int) bool { return i%2 == 0 || i%5 == 0 }},
		{"tag[]=even&project[]=web", func(i int) bool { return i%2 == 0 && i%3 == 1 }},
		{"monitor[]=monitor 7&monitor[]=monitor 8&monitor[]=monitor", func(i int) bool { return i == 7 || i == 8 }},
		{"id[]=" + numbered(9).String() + "&id=" + strings.ToUpper(numbered(255).String()), func(i int) bool { return i == 9 || i == 255 }},
		{"label[]=parity%3Dodd", func(i int) bool { return i%2 == 1 }},
		{"label[]=parity%3Dodd&label[]=parity%3Deven", func(int) bool { return true }},
		{"label[]=parity=odd&project[]=shop&monitor[]=monitor 3&monitor[]=monitor 4", func(i int) bool { return i == 3 }},
		{"label[]=parity=", func(int) bool { return false }},
		{"label[]=path=a=b", func(int) bool { return true }}, // the name ends at the first =
	} {
		want := []int{}
		for i := range n {
			if c.want(i) {
				want = append(want, i)
			}
		}
		for range 2 { // what a filter wrote is not kept for others
			got := s.get("a", "/metrics/monitors?"+strings.ReplaceAll(c.query, " ", "%20"))
			if d := cmp.Diff(want, chosen(t, got, "tokiflow_monitor_open_runs")); d != "" {
				t.Errorf("%s (-want +got):\n%s", c.query, d)
			}
			if len(want) == 0 && strings.Contains(got, "tokiflow_monitor") {
				t.Errorf("%s: families without samples are there:\n%s", c.query, got)
			}
		}
	}
}

func TestNames(t *testing.T) {
	s := newBundle(t)
	s.store.put(s.a, golden()...)
	families := func(query string) (names []string) {
		for line := range strings.SplitSeq(s.get("a", "/metrics/monitors?"+query), "\n") {
			if f := strings.Fields(line); len(f) == 4 && f[1] == "TYPE" {
				names = append(names, f[2])
			}
		}
		return names
	}
	own := []string{"tokiflow_exporter_series", "tokiflow_exporter_series_dropped", "tokiflow_exporter_states_age_seconds"}
	for query, want := range map[string][]string{
		"name[]=tokiflow_monitor_up":                                                                    {"tokiflow_monitor_up"},
		"name[]=tokiflow_monitor_open_runs&name=tokiflow_monitor_up":                                    {"tokiflow_monitor_up", "tokiflow_monitor_open_runs"},
		"name[]=tokiflow_monitor_run_duration_seconds_bucket":                                           {"tokiflow_monitor_run_duration_seconds"},
		"name[]=tokiflow_monitor_run_duration_seconds&name[]=tokiflow_monitor_run_duration_seconds_sum": {"tokiflow_monitor_run_duration_seconds"},
		"name[]=tokiflow_monitor_runs":                                                                  {"tokiflow_monitor_runs_total"},
		"name[]=tokiflow_monitor":                                                                       {"tokiflow_monitor_info"},
		"name[]=tokiflow_exporter_series":                                                               nil,
		"name[]=tokiflow_monitor_mttr_seconds":                                                          nil, // no sample
	} {
		if d := cmp.Diff(append(want, own...), families(query)); d != "" {
			t.Errorf("%s (-want +got):\n%s", query, d)
		}
	}
	for query, says := range map[string]string{
		"name[]=up":                      "there is no metric \"up\". There are:\ntokiflow_monitor_info\n",
		"name[]=":                        `there is no metric ""`,
		"name[]=tokiflow_monitor_up,":    "tokiflow_exporter_series",
		"match[]=x":                      "there is no parameter \"match[]\". There are: name[], project[], tag[], monitor[], id[], label[]",
		"projects[]=x":                   `no parameter "projects[]"`,
		"id[]=1":                         `id[]="1" is not the id of a monitor`,
		"label[]=team":                   `label[]="team" has no =`,
		"a;b":                            "cannot be read",
		"%zz":                            "cannot be read",
		"name[]=%3Cscript%3E&name[]=%7F": `there is no metric "<script>"`,
	} {
		w := s.ask("a", http.MethodGet, "/metrics/monitors?"+query)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), says) || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %s; want it to say %s", query, w.Code, w.Body, says)
		}
	}
}

func TestTheLimitCutsTheSameMonitorsEverywhere(t *testing.T) {
	monitors := fleetOf(200)
	each := len(asked(monitors[:1], start()))
	s := newBundle(t, func(o *exporter.Options) { o.MaxSeries = 120*each + each/2 })
	s.store.put(s.a, monitors...)
	s.store.put(s.b, monitors[:120]...) // who keeps within it loses nothing
	want := make([]int, 120)
	for i := range want {
		want[i] = i
	}
	own := func(key, query, accept string) (got samples, series, dropped float64) {
		w := s.ask(key, http.MethodGet, "/metrics/monitors"+query, "Accept", accept)
		of, own, _ := scraped(t, w.Body.Bytes(), w.Header().Get("Content-Type"))
		return of, own[seriesOf("tokiflow_exporter_series")], own[seriesOf("tokiflow_exporter_series_dropped")]
	}
	for _, accept := range []string{acceptText, acceptOpenMetrics, acceptProto} {
		got, series, dropped := own("a", "", accept)
		if d := cmp.Diff(asked(monitors[:120], s.now), got); d != "" || series != float64(120*each) || dropped != float64(80*each) {
			t.Errorf("%s: %g series, %g dropped (-want +got):\n%.1000s", accept, series, dropped, d)
		}
		_, series, dropped = own("a", "?name[]=tokiflow_monitor_up&name[]=tokiflow_monitor_status", accept)
		if series != 6*120 || dropped != 6*80 {
			t.Errorf("%s, two families: %g series, %g dropped", accept, series, dropped)
		}
		_, series, dropped = own("a", "?name[]=tokiflow_monitor_up&project[]=web", accept)
		if series != 40 || dropped != 27 {
			t.Errorf("%s, a project: %g series, %g dropped", accept, series, dropped)
		}
		if _, series, dropped = own("b", "", accept); series != float64(120*each) || dropped != 0 {
			t.Errorf("%s, within the limit: %g series, %g dropped", accept, series, dropped)
		}
	}
	// Those that make room let the next ones in, others stay.
	s.store.remove(s.a, numbered(0))
	s.store.remove(s.a, numbered(150))
	s.now = s.now.Add(time.Minute)
	got := chosen(t, s.get("a", "/metrics/monitors"), "tokiflow_monitor_up")
	if d := cmp.Diff(append(want[1:], 120), got); d != "" {
		t.Errorf("after a deletion (-want +got):\n%s", d)
	}
	s.store.put(s.a, func() []inventory.MonitorState { m := fleetOf(1); m[0].State.Totals = nil; return m }()...)
	s.now = s.now.Add(time.Minute)
	if d := cmp.Diff(want, chosen(t, s.get("a", "/metrics/monitors"), "tokiflow_monitor_up")[:120]); d != "" {
		t.Errorf("after it came again (-want +got):\n%s", d)
	}
}

func TestNotEvenOneMonitorHasRoom(t *testing.T) {
	s := newBundle(t, func(o *exporter.Options) { o.MaxSeries = 3 })
	s.store.put(s.a, fleetOf(2)...)
	w := s.get("a", "/metrics/monitors")
	if strings.Contains(w, "tokiflow_monitor_") || !strings.Contains(w, "\ntokiflow_exporter_series 0\n") || strings.Contains(w, "dropped 0\n") {
		t.Error(w)
	}
}

func TestOptionsAreHeld(t *testing.T) {
	for says, change := range map[string]func(o *exporter.Options){
		"States and Keys":       func(o *exporter.Options) { o.States = nil },
		"must be set":           func(o *exporter.Options) { o.Keys = nil },
		"the limit of series":   func(o *exporter.Options) { o.MaxSeries = -1 },
		"the base URL is \"x\"": func(o *exporter.Options) { o.BaseURL = "x" },
		"give one as https://":  func(o *exporter.Options) { o.BaseURL = "ftp://x" },
	} {
		o := exporter.Options{States: &memory{}, Keys: newBundleKeys()}
		change(&o)
		if _, err := exporter.New(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("want an error that says %q, got %v", says, err)
		}
	}
	if got := len(metric.Families()); got != 16 {
		t.Errorf("there are %d families: bring docs/prometheus.md up to date", got)
	}
}

func FuzzAnyRequestIsAnswered(f *testing.F) {
	f.Add("name[]=tokiflow_monitor_up&project=shop", acceptOpenMetrics+";q=0.5,"+acceptText, "gzip;q=0.1, zstd")
	f.Add("label[]=a=b&id[]=1&x", ",;q=;=,*/*;q=nan", ";,identity;q=-1")
	s := newBundle(f)
	s.store.put(s.a, fleetOf(3)...)
	f.Fuzz(func(t *testing.T, query, accept, encoding string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics/monitors", nil)
		r.URL.RawQuery = query
		r.Header = http.Header{"X-Api-Key": {"a"}, "Accept": {accept}, "Accept-Encoding": {encoding}}
		w := httptest.NewRecorder()
		s.router.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK:
			scraped(t, unpacked(t, w), w.Header().Get("Content-Type"))
		case http.StatusBadRequest:
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// TestManyDeletions leaves so few of many monitors that those that stay are laid out anew, and lets others come.
func TestManyDeletions(t *testing.T) {
	s := newBundle(t)
	s.store.put(s.a, fleetOf(2000)...)
	s.get("a", "/metrics/monitors?name[]=tokiflow_monitor_up")
	want := []int{}
	for i := range 2000 {
		if i%100 == 7 {
			want = append(want, i)
			continue
		}
		s.store.remove(s.a, numbered(i))
	}
	s.now = s.now.Add(time.Minute)
	for range 2 {
		if d := cmp.Diff(want, chosen(t, s.get("a", "/metrics/monitors"), "tokiflow_monitor_up")); d != "" {
			t.Fatalf("after deletions (-want +got):\n%s", d)
		}
	}
	for i := range 100 {
		m := plainMonitor(3000 + i)
		s.store.put(s.a, m)
		want = append(want, 3000+i)
	}
	s.now = s.now.Add(time.Minute)
	if d := cmp.Diff(want, chosen(t, s.get("a", "/metrics/monitors"), "tokiflow_monitor_up")); d != "" {
		t.Errorf("after others came (-want +got):\n%s", d)
	}
}
