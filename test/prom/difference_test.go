package prom_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/test/services"
)

// TestTheDifference: a Prometheus that has scraped the exporter for an hour and Tokiflow, which computes the same series from
// what happened, are asked the same.
func TestTheDifference(t *testing.T) {
	p := services.Prometheus(t, "global: {}\n", "--web.enable-remote-write-receiver")
	h := newHour(t, pgtest.New(t))
	h.fleet()
	s := &scraper{t: t, from: h.server.URL + "/metrics/monitors", to: p}
	began := time.Now()
	h.run(s.scrape)
	t.Logf("%d monitors, %d samples, %d native histograms, %d staleness markers in %v", monitors, s.samples, s.histograms, s.markers, time.Since(began))
	if s.markers == 0 || s.histograms == 0 {
		t.Error("the hour is too quiet to tell anything")
	}
	theirs := asker{t: t, url: p.URL() + "/api/v1/"}
	ours := asker{t: t, url: h.server.URL + "/prometheus/api/v1/"}
	asked, points := 0, 0
	for _, q := range queries(t) {
		asked++
		t.Run(q.text, func(t *testing.T) {
			points += compare(t, q, theirs.named(t), ours.named(t), h.base)
		})
	}
	if asked < 100 {
		t.Errorf("only %d queries", asked)
	}
	t.Logf("%d queries, %d values compared", asked, points)
}

// query is a line of the list.
type query struct {
	class string
	text  string
}

func queries(t *testing.T) []query {
	t.Helper()
	text, err := os.ReadFile("testdata/queries.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []query
	for line := range strings.SplitSeq(string(text), "\n") {
		class, q, _ := strings.Cut(line, " ")
		switch class {
		case "exact", "grid":
			list = append(list, query{class, q})
		case "#", "":
		default:
			t.Errorf("a line of class %q", class)
		}
	}
	return list
}

// asker asks one of the two.
type asker struct {
	t   *testing.T
	url string
}

func (a asker) named(t *testing.T) asker { return asker{t: t, url: a.url} }

// answer is values by series and instant (milliseconds). A native histogram is there as its JSON.
type answer map[string]map[int64]string

func (a asker) ask(path string, form url.Values) answer {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, a.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+testKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	var m struct {
		Status, Error string
		Data          struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &m); err != nil || m.Status != "success" {
		a.t.Fatalf("%s answers %d: %.300s (%v)", a.url, res.StatusCode, body, err)
	}
	var list []struct {
		Metric     map[string]string
		Value      []json.RawMessage
		Histogram  []json.RawMessage
		Values     [][]json.RawMessage
		Histograms [][]json.RawMessage
	}
	if m.Data.ResultType != "vector" && m.Data.ResultType != "matrix" {
		a.t.Fatalf("%s answers with a %s", a.url, m.Data.ResultType)
	}
	if err := json.Unmarshal(m.Data.Result, &list); err != nil {
		a.t.Fatal(err)
	}
	out := answer{}
	for _, s := range list {
		of := map[int64]string{}
		for _, pair := range slices.Concat([][]json.RawMessage{s.Value, s.Histogram}, s.Values, s.Histograms) {
			if pair == nil {
				continue
			}
			at, err := strconv.ParseFloat(string(pair[0]), 64)
			if err != nil {
				a.t.Fatal(err)
			}
			of[int64(math.Round(at*1000))] = strings.Trim(string(pair[1]), `"`)
		}
		out[fmt.Sprint(s.Metric)] = of
	}
	return out
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

func (a asker) instant(q string, at time.Time) answer {
	return a.ask("query", url.Values{"query": {q}, "time": {seconds(at)}})
}

func (a asker) between(q string, from, to time.Time, step time.Duration) answer {
	return a.ask("query_range", url.Values{"query": {q}, "start": {seconds(from)}, "end": {seconds(to)}, "step": {strconv.Itoa(int(step / time.Second))}})
}

// compare asks both at instants on and off the grid and over ranges, and returns how many values there were.
func compare(t *testing.T, q query, theirs, ours asker, base time.Time) int {
	t.Helper()
	n, faults := 0, 0
	check := func(how string, shift func(a asker, by time.Duration) answer) {
		t.Helper()
		want, got := shift(theirs, 0), shift(ours, 0)
		var near []answer
		if q.class == "grid" {
			near = []answer{moved(shift(ours, -grid), grid), moved(shift(ours, grid), -grid)}
		}
		for _, d := range differences(want, append([]answer{got}, near...)) {
			if faults++; faults <= 5 {
				t.Errorf("%s: %s", how, d)
			}
		}
		for _, s := range want {
			n += len(s)
		}
	}
	for _, minute := range []float64{0.25, 3, 11.37, 26.5, 32.3, 33, 41.11, 59.75} {
		at := base.Add(time.Duration(minute * float64(time.Minute)))
		check(fmt.Sprintf("after %v min", minute), func(a asker, by time.Duration) answer { return a.instant(q.text, at.Add(by)) })
	}
	check("every 15 s for 20 min", func(a asker, by time.Duration) answer {
		return a.between(q.text, base.Add(25*time.Minute+by), base.Add(45*time.Minute+by), grid)
	})
	check("every minute for an hour, off the grid", func(a asker, by time.Duration) answer {
		return a.between(q.text, base.Add(7*time.Second+by), base.Add(lasts+by), time.Minute)
	})
	if faults > 5 {
		t.Errorf("and %d more", faults-5)
	}
	return n
}

func moved(a answer, by time.Duration) answer {
	out := answer{}
	for s, values := range a {
		out[s] = map[int64]string{}
		for at, v := range values {
			out[s][at+by.Milliseconds()] = v
		}
	}
	return out
}

// differences says where want lies outside of what all of got say.
func differences(want answer, got []answer) []string {
	names := map[string]bool{}
	for _, a := range append([]answer{want}, got...) {
		for s := range a {
			names[s] = true
		}
	}
	var out []string
	for _, s := range slices.Sorted(maps.Keys(names)) {
		instants := map[int64]bool{}
		for at := range want[s] {
			instants[at] = true
		}
		for at := range got[0][s] {
			instants[at] = true
		}
		for _, at := range slices.Sorted(maps.Keys(instants)) {
			var ours []string
			for _, a := range got {
				ours = append(ours, a[s][at])
			}
			if theirs := want[s][at]; !within(theirs, ours) {
				out = append(out, fmt.Sprintf("%s at %s: Prometheus %q, Tokiflow %q", s, time.UnixMilli(at).UTC().Format("15:04:05.000"), theirs, ours))
			}
		}
	}
	return out
}

// within reports whether a value lies between the least and the greatest of the others; "" is no value, and is equal to itself.
func within(v string, others []string) bool {
	if slices.Contains(others, v) {
		return true
	}
	x, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return false
	}
	least, most := math.Inf(1), math.Inf(-1)
	for _, o := range others {
		y, err := strconv.ParseFloat(o, 64)
		if err != nil {
			continue
		}
		least, most = min(least, y), max(most, y)
	}
	slack := 1e-9 * math.Max(math.Abs(x), 1e-3)
	return x >= least-slack && x <= most+slack
}
