package loadgen

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a ping server that notes what it gets.
type recorder struct {
	*httptest.Server
	mu     sync.Mutex
	uris   []string
	bodies []string
	status func(n int) int // of the n-th request
}

func spy(t *testing.T, status func(n int) int) *recorder {
	t.Helper()
	rec := &recorder{status: status}
	rec.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		rec.mu.Lock()
		rec.uris = append(rec.uris, r.Method+" "+r.RequestURI)
		rec.bodies = append(rec.bodies, string(body))
		n := len(rec.uris)
		rec.mu.Unlock()
		code := 200
		if rec.status != nil {
			code = rec.status(n)
		}
		if code == 0 {
			panic(http.ErrAbortHandler)
		}
		if code == 200 {
			w.Header().Set("Ping-Id", fmt.Sprint("id", n))
		}
		w.WriteHeader(code)
		if strings.HasPrefix(r.RequestURI, "/api/") {
			_, _ = fmt.Fprintf(w, `{"accepted":%d,"rejected":[{"index":0,"error":"x"}]}`, strings.Count(string(body), "\n")-1)
		}
	}))
	t.Cleanup(rec.Close)
	return rec
}

func (r *recorder) seen() (uris, bodies []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.uris), slices.Clone(r.bodies)
}

func load(t *testing.T, o PingOptions) *PingResult {
	t.Helper()
	if o.Duration == 0 {
		o.Duration = 200 * time.Millisecond
	}
	if o.Connections == 0 {
		o.Connections = 1
	}
	r, err := Ping(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPingCountsWhatTheServerSaw(t *testing.T) {
	t.Parallel()
	s := spy(t, nil)
	var ids bytes.Buffer
	r := load(t, PingOptions{BaseURL: s.URL + "/sub/", Targets: []string{"a", "p/b"}, Connections: 3, Body: []byte("text"), Kind: "7", IDs: &ids})
	uris, bodies := s.seen()
	if int(r.Answered) != len(uris) || r.Sent != r.Answered || r.Statuses[200] != r.Answered || r.Latency.Count() != r.Answered || r.Failed != 0 {
		t.Errorf("the server saw %d: %+v", len(uris), *r)
	}
	if lines := strings.Count(ids.String(), "\n"); lines != len(uris) || !strings.HasPrefix(ids.String(), "id") {
		t.Errorf("%d ids of %d", lines, len(uris))
	}
	for i, u := range uris {
		if u != "POST /sub/ping/a/7" && u != "POST /sub/ping/p/b/7" || bodies[i] != "text" {
			t.Fatalf("request %q with %q", u, bodies[i])
		}
	}
	if r.PerSecond() <= 0 || r.Elapsed > 10*time.Second {
		t.Errorf("%v a second in %v", r.PerSecond(), r.Elapsed)
	}
}

func TestPingSendsRuns(t *testing.T) {
	t.Parallel()
	s := spy(t, nil)
	load(t, PingOptions{BaseURL: s.URL, Targets: []string{"a", "b"}, Runs: true, Create: true})
	uris, _ := s.seen()
	for i := 0; i+1 < len(uris); i += 2 {
		key := []string{"a", "b"}[i/2%2]
		start, rest, _ := strings.Cut(uris[i], "?rid=")
		rid, create, _ := strings.Cut(rest, "&")
		if start != "GET /ping/"+key+"/start" || uuid.Validate(rid) != nil || create != "create=1" {
			t.Fatalf("request %d: %q", i, uris[i])
		}
		if want := "GET /ping/" + key + "?rid=" + rid + "&create=1"; uris[i+1] != want {
			t.Fatalf("request %d: %q, want %q", i+1, uris[i+1], want)
		}
	}
}

func TestPingInBatches(t *testing.T) {
	t.Parallel()
	s := spy(t, nil)
	r := load(t, PingOptions{BaseURL: s.URL, Targets: []string{"a", "p/b"}, Batch: 3, APIKey: "k", Body: []byte(`"`)})
	uris, bodies := s.seen()
	if uris[0] != "POST /api/v1/pings" || int(r.Answered) != 2*len(uris) || int(r.Refused) != len(uris) {
		t.Errorf("%d requests as %q: %+v", len(uris), uris[0], *r)
	}
	want := `{"key":"a","kind":"success","body":"\""}` + "\n" + `{"slug":"b","kind":"success","body":"\""}` + "\n" + `{"key":"a","kind":"success","body":"\""}` + "\n"
	if bodies[0] != want {
		t.Errorf("body %s, want %s", bodies[0], want)
	}
}

func TestPingAtARate(t *testing.T) {
	t.Parallel()
	s := spy(t, nil)
	r := load(t, PingOptions{BaseURL: s.URL, Targets: []string{"a"}, Connections: 4, Rate: 100, Duration: 500 * time.Millisecond})
	if r.Answered > 50 || r.Answered < 5 {
		t.Errorf("%d pings in half a second at 100 a second", r.Answered)
	}
}

func TestPingGoesOnAfterLostConnections(t *testing.T) {
	t.Parallel()
	s := spy(t, func(n int) int {
		switch n % 4 {
		case 1:
			return 0
		case 2:
			return 503
		}
		return 200
	})
	var ids bytes.Buffer
	r := load(t, PingOptions{BaseURL: s.URL, Targets: []string{"a"}, Connections: 2, Duration: time.Second, IDs: &ids})
	if r.Failed == 0 || r.LastFail == "" || r.Statuses[503] == 0 || r.Answered == 0 {
		t.Errorf("%+v", *r)
	}
	if lines := strings.Count(ids.String(), "\n"); lines != int(r.Answered) {
		t.Errorf("%d ids for %d answered pings", lines, r.Answered)
	}
}

func TestWarmupDoesNotCount(t *testing.T) {
	t.Parallel()
	s := spy(t, nil)
	r := load(t, PingOptions{BaseURL: s.URL, Targets: []string{"a"}, Warmup: 200 * time.Millisecond})
	if uris, _ := s.seen(); int(r.Answered) >= len(uris) {
		t.Errorf("%d of %d requests count", r.Answered, len(uris))
	}
}

func TestPingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := spy(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := Ping(ctx, PingOptions{BaseURL: s.URL, Targets: []string{"a"}, Connections: 1, Duration: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	good := PingOptions{BaseURL: "http://h", Targets: []string{"a"}, Connections: 1, Duration: time.Second}
	for name, change := range map[string]func(*PingOptions){
		"base URL":    func(o *PingOptions) { o.BaseURL = "h" },
		"keys":        func(o *PingOptions) { o.Targets = nil },
		"connections": func(o *PingOptions) { o.Connections = 0 },
		"duration":    func(o *PingOptions) { o.Duration = 0 },
		"rate":        func(o *PingOptions) { o.Rate = -1 },
		"batch key":   func(o *PingOptions) { o.Batch = 1 },
		"batch ids":   func(o *PingOptions) { o.Batch, o.APIKey, o.IDs = 1, "k", io.Discard },
	} {
		o := good
		change(&o)
		if _, err := Ping(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Baseline(ctx, l) }()
	r := load(t, PingOptions{BaseURL: "http://" + l.Addr().String(), Targets: []string{"a", "p/b"}, Body: []byte("x")})
	if r.Answered == 0 || r.Statuses[200] != r.Answered || r.Failed != 0 {
		t.Errorf("%+v", *r)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
