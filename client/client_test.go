package client_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/client"
	"github.com/tokiflow/tokiflow/core/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "0190f9a4-7c3e-7c6d-9f43-0123456789ab"

// server answers each request by the next of the functions; the last one goes on.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // method, URI and body of each request
}

func serve(t *testing.T, answers ...http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		n := len(s.seen)
		s.seen = append(s.seen, r.Method+" "+r.RequestURI+" "+string(body))
		s.mu.Unlock()
		answers[min(n, len(answers)-1)](w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.seen...)
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "said "+http.StatusText(code))
	}
}

func dial(t *testing.T, o client.Options) *client.Client {
	t.Helper()
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestURL(t *testing.T) {
	t.Parallel()
	rid := uuid.MustParse("0190f9a4-0000-7000-8000-000000000001")
	for _, c := range []struct {
		base, want string
		ping       client.Ping
	}{
		{"http://h", "http://h/ping/" + key, client.NewPing(key, record.Success)},
		{"http://h/", "http://h/ping/" + key, client.Ping{Target: key, ExitCode: -1, Duration: -1}},
		{"https://h/sub/", "https://h/sub/ping/" + key + "/start", client.NewPing(key, record.Start)},
		{"http://h", "http://h/ping/" + key + "/fail", client.NewPing(key, record.Fail)},
		{"http://h", "http://h/ping/p/backup/log", client.NewPing("p/backup", record.Log)},
		{"http://h", "http://h/ping/" + key + "/0", client.Ping{Target: key, ExitCode: 0, Duration: -1}},
		{
			"http://h", "http://h/ping/p/backup/255?create=1&duration=1.500000&rid=" + rid.String(),
			client.Ping{Target: "p/backup", ExitCode: 255, RID: rid, Duration: 1500 * time.Millisecond, Create: true},
		},
	} {
		base, err := client.ParseBaseURL(c.base)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ping.URL(base); got != c.want {
			t.Errorf("%s: got %s, want %s", c.base, got, c.want)
		}
	}
}

func TestBaseURLThatIsNone(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "localhost:8080", "ftp://h", "http://", "http://h?x=1", "http://h#f", "http://[::1", "://"} {
		if _, err := client.New(client.Options{BaseURL: s}); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	f := func(name string, give time.Duration, answers []http.HandlerFunc, wantRequests int, wantErr string, want client.Answer) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, answers...)
			c := dial(t, client.Options{BaseURL: s.URL, GiveUp: give})
			p := client.NewPing(key, record.Success)
			p.Body = []byte("out")
			got, err := c.Send(t.Context(), p)
			if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr)) {
				t.Fatalf("error %v, want %q", err, wantErr)
			}
			if d := cmp.Diff(want, got); wantErr == "" && d != "" {
				t.Error(d)
			}
			seen := s.requests()
			if len(seen) != wantRequests && wantRequests > 0 {
				t.Errorf("%d requests, want %d", len(seen), wantRequests)
			}
			for _, r := range seen {
				if want := "POST /ping/" + key + " out"; r != want {
					t.Errorf("request %q, want %q", r, want)
				}
			}
		})
	}
	ok := status(200, "Ping-Id", "i", "Ping-Body-Limit", "7")
	taken := client.Answer{Status: 200, Text: "said OK", PingID: "i", BodyLimit: 7}
	f("taken", 0, []http.HandlerFunc{ok}, 1, "", taken)
	f("no limit announced", 0, []http.HandlerFunc{status(201)}, 1, "", client.Answer{Status: 201, Text: "said Created", BodyLimit: client.DefaultBodyLimit})
	f("limit that is none", 0, []http.HandlerFunc{status(200, "Ping-Body-Limit", "-3")}, 1, "", client.Answer{Status: 200, Text: "said OK", BodyLimit: client.DefaultBodyLimit})
	f("repeated after 503 and 500", 0, []http.HandlerFunc{status(503), status(500), ok}, 3, "", taken)
	f("waits as long as it is asked", 0, []http.HandlerFunc{status(503, "Retry-After", "1"), ok}, 2, "", taken)
	f("will not wait longer than it may", time.Second, []http.HandlerFunc{status(429, "Retry-After", "60")}, 1, "429", client.Answer{})
	f("unknown key is not repeated", 0, []http.HandlerFunc{status(404)}, 1, "refused: the server answered 404: said Not Found", client.Answer{})
	f("gives up", 300*time.Millisecond, []http.HandlerFunc{status(503)}, 0, "the server answered 503", client.Answer{})
}

func TestSendToNobody(t *testing.T) {
	t.Parallel()
	s := serve(t, status(200))
	address := s.URL
	s.Close()
	c := dial(t, client.Options{BaseURL: address, GiveUp: 300 * time.Millisecond})
	_, err := c.Send(t.Context(), client.NewPing(key, record.Start))
	if err == nil || errors.Is(err, client.ErrRefused) {
		t.Fatalf("error %v, want one that may pass", err)
	}
	if strings.Contains(err.Error(), key) {
		t.Errorf("the error names the ping key: %v", err)
	}
	if wrapped := new(url.Error); errors.As(err, &wrapped) {
		t.Errorf("the error holds the address: %v", err)
	}
}

func TestSendToASilentServerIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	c := dial(t, client.Options{BaseURL: s.URL, Attempt: 50 * time.Millisecond, GiveUp: 200 * time.Millisecond})
	began := time.Now()
	if _, err := c.Send(t.Context(), client.NewPing(key, record.Start)); err == nil {
		t.Fatal("no error")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestPingsThatAreNone(t *testing.T) {
	t.Parallel()
	s := serve(t, status(200))
	c := dial(t, client.Options{BaseURL: s.URL})
	for _, p := range []client.Ping{
		client.NewPing("", record.Success),
		client.NewPing("/", record.Success),
		client.NewPing("a/b/c", record.Success),
		client.NewPing("a?b", record.Success),
		{Target: key, ExitCode: 256},
	} {
		if _, err := c.Send(t.Context(), p); !errors.Is(err, client.ErrRefused) {
			t.Errorf("%+v: error %v", p, err)
		}
	}
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}
