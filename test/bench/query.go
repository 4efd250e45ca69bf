package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/loadgen"
)

// What is asked: a day at a step of a minute, of monitors that run every 5 minutes.
const (
	queryMonitors = 1000
	queryRounds   = 7 // and of slow queries 3 at least
	queryDay      = 24 * time.Hour
)

func queries() []string {
	return []string{
		`tokiflow_monitor_up`,
		`rate(tokiflow_monitor_runs_total{outcome="success"}[5m])`,
		`sum by (outcome) (increase(tokiflow_monitor_runs_total[1h]))`,
		`tokiflow_monitor_last_run_duration_seconds`,
		`time() - tokiflow_monitor_last_success_timestamp_seconds`,
		`tokiflow_monitor_up * on (id) group_left (monitor, project) tokiflow_monitor_info`,
		`histogram_quantile(0.95, sum by (le) (rate(tokiflow_monitor_run_duration_seconds_bucket[1h])))`,
	}
}

// measureQuery: how long range queries over computed series take, and how long a Prometheus takes that holds the same samples.
func measureQuery(ctx context.Context, s settings, brokers string) error {
	srv, err := newServer(s)
	if err != nil {
		return err
	}
	defer func() { _ = srv.remove() }()
	if err := srv.start(ctx, brokers); err != nil {
		return err
	}
	admin, err := loadgen.NewAdmin(srv.base, apiKey)
	if err != nil {
		return err
	}
	defer admin.Close()
	if _, err := admin.Make(ctx, loadgen.Spec{Prefix: "asked", Count: queryMonitors, Interval: 5 * time.Minute, Grace: 5 * time.Minute}); err != nil {
		return err
	}
	end := time.Now().Truncate(time.Minute)
	runs, err := writeHistory(ctx, srv.embeddedURL(), end)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	prom, err := startPrometheus(ctx, srv.dir)
	if err != nil {
		return err
	}
	defer prom.stop()
	began := time.Now()
	n, err := copySamples(ctx, srv.base, prom.base, end.Add(-queryDay-time.Hour), end)
	if err != nil {
		return fmt.Errorf("copying samples: %w", err)
	}
	fmt.Printf("%d monitors, %d runs in 26 h; Prometheus holds the same as %d samples (written in %.0f s)\n\n",
		queryMonitors, runs, n, time.Since(began).Seconds())
	ours, theirs := srv.base+"/prometheus/api/v1/query_range", prom.base+"/api/v1/query_range"
	for _, q := range queries() {
		form := url.Values{
			"query": {q}, "start": {strconv.FormatInt(end.Add(-queryDay).Unix(), 10)}, "end": {strconv.FormatInt(end.Unix(), 10)}, "step": {"60"},
		}
		if err := race(ctx, q, form, ours, theirs); err != nil {
			return err
		}
	}
	return nil
}

// race asks both the same, makes sure that they say the same, and times them in turn.
func race(ctx context.Context, q string, form url.Values, ours, theirs string) error {
	var a, b []byte
	var err error
	if a, err = ask(ctx, ours, form); err == nil {
		b, err = ask(ctx, theirs, form)
	}
	if err != nil {
		return err
	}
	points, err := sameAnswer(a, b)
	if err != nil {
		return fmt.Errorf("%s: Tokiflow and Prometheus differ: %w", q, err)
	}
	var us, them []time.Duration
	for start := time.Now(); len(us) < 3 || len(us) < queryRounds && time.Since(start) < time.Minute; {
		for _, x := range []struct {
			url  string
			took *[]time.Duration
		}{{ours, &us}, {theirs, &them}} {
			began := time.Now()
			if _, err := ask(ctx, x.url, form); err != nil {
				return err
			}
			*x.took = append(*x.took, time.Since(began))
		}
	}
	slices.Sort(us)
	slices.Sort(them)
	n := len(us)
	u, t := us[n/2], them[n/2]
	fmt.Printf("%s: %d points, equal; Tokiflow p50 %.0f ms (worst %.0f), Prometheus p50 %.0f ms (worst %.0f); ratio %.2f; %d rounds, load %s\n",
		q, points, ms(u), ms(us[n-1]), ms(t), ms(them[n-1]), u.Seconds()/t.Seconds(), n, load())
	return nil
}

// load is the machine's load average of the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// ask returns the answer as it came: compressed.
func ask(ctx context.Context, to string, form url.Values) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("Authorization", "Bearer "+apiKey)
	res, err := http.DefaultClient.Do(req) //nolint:gosec // our own servers
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %d: %s", to, res.StatusCode, body[:min(len(body), 1000)])
	}
	return body, err
}

// matrix is an answer as Prometheus has it: the points of a series by its labels.
type matrix map[string][][2]float64

func readMatrix(packed []byte) (matrix, error) {
	text := packed
	if bytes.HasPrefix(packed, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		if text, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	var x struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return nil, err
	}
	m := matrix{}
	for _, s := range x.Data.Result {
		key := fmt.Sprint(s.Metric) // sorted by key
		for _, v := range s.Values {
			at, _ := v[0].(float64)
			text, _ := v[1].(string)
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, err
			}
			m[key] = append(m[key], [2]float64{at, value})
		}
	}
	return m, nil
}

// sameAnswer counts the points of an answer that is to be equal to the other, but for the last digits of floats.
func sameAnswer(a, b []byte) (points int, err error) {
	x, err := readMatrix(a)
	if err != nil {
		return 0, err
	}
	y, err := readMatrix(b)
	if err != nil {
		return 0, err
	}
	if len(x) != len(y) {
		return 0, fmt.Errorf("%d series and %d", len(x), len(y))
	}
	for key, list := range x {
		points += len(list)
		if len(list) != len(y[key]) {
			return 0, fmt.Errorf("%s: %d points and %d", key, len(list), len(y[key]))
		}
		for i, p := range list {
			if q := y[key][i]; p[0] != q[0] || !near(p[1], q[1]) {
				return 0, fmt.Errorf("%s: %v and %v", key, p, q)
			}
		}
	}
	if points == 0 {
		return 0, errors.New("both are empty")
	}
	return points, nil
}

func near(a, b float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b))
}

// embeddedURL is where the server's own PostgreSQL is (infra/pg/embedded says what is in its folder).
func (s *server) embeddedURL() string {
	folder := filepath.Join(s.dir, "data", "postgres")
	password, _ := os.ReadFile(filepath.Join(folder, "password")) //nolint:gosec // connecting says what is wrong
	return fmt.Sprintf("host=%s user=tokiflow password=%s dbname=tokiflow sslmode=disable", filepath.Join(folder, "data"), strings.TrimSpace(string(password)))
}
