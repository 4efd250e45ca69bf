package outgoing_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"

	"github.com/tokiflow/tokiflow/alerting/outgoing"
)

func client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestEveryStatus(t *testing.T) {
	status := 0
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Test") != "1" || r.Method != http.MethodPost {
			t.Errorf("%s %v", r.Method, r.Header)
		}
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	})
	for status = 200; status <= 599; status++ {
		_, retry, err := outgoing.Post(t.Context(), client(), url+"/?token=hidden", http.Header{"X-Test": {"1"}}, []byte("{}"))
		wantRetry := status >= 500 || slices.Contains([]int{408, 425, 429}, status)
		if (err == nil) != (status <= 299) || retry != wantRetry {
			t.Errorf("%d: retry %t, %v", status, retry, err)
		}
		refused, ok := errors.AsType[*outgoing.Error](err)
		if ok == (status <= 299) || (ok && (refused.StatusCode() != status || refused.RetryAfter() != 7*time.Second)) {
			t.Errorf("%d: %+v", status, refused)
		}
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	url := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "no such\nchannel\x00 "+strings.Repeat("x", 10<<20))
	})
	answer, _, err := outgoing.Post(t.Context(), client(), url, nil, nil)
	if len(answer) > 64<<10 || len(err.Error()) > 400 || !strings.HasPrefix(err.Error(), "answered 400 Bad Request: no such channel xxx") {
		t.Errorf("%d bytes, %v", len(answer), err)
	}
}

func TestWithoutAnAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + l.Addr().String()
	_ = l.Close()
	hangs := server(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for _, c := range []struct {
		ctx context.Context
		url string
	}{{t.Context(), closed + "/hidden"}, {ctx, hangs + "/hidden"}, {t.Context(), "https" + strings.TrimPrefix(hangs, "http") + "/hidden"}} {
		_, retry, err := outgoing.Post(c.ctx, client(), c.url, nil, nil)
		if err == nil || !retry || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %t, %v", c.url, retry, err)
		}
	}
	if _, retry, err := outgoing.Post(t.Context(), client(), "http://hidden\x00", nil, nil); err == nil || retry || strings.Contains(err.Error(), "hidden") {
		t.Errorf("no URL: %t, %v", retry, err)
	}
}

func TestSeconds(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "0.25": 250 * time.Millisecond, "-1": 0, "NaN": 0, "Inf": 24 * time.Hour, "1e300": 24 * time.Hour, "soon": 0,
		"Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Wed, 31 Dec 2025 00:01:00 GMT": 0, "Thu, 01 Jan 2036 00:01:00 GMT": 24 * time.Hour,
	} {
		if got := outgoing.Seconds(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func FuzzSeconds(f *testing.F) {
	f.Add("1.5")
	f.Add("Thu, 01 Jan 2026 00:01:00 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if got := outgoing.Seconds(value, time.Unix(0, 0)); got < 0 || got > 24*time.Hour {
			t.Errorf("%s", got)
		}
	})
}

func TestDecode(t *testing.T) {
	var into struct {
		URL string `yaml:"url"`
		N   int    `yaml:"n"`
	}
	for text, words := range map[string]string{"url: x\nn: 3": "", "urls: x": "urls", "n: x": "line 1", "[]": "line 1"} {
		var n yaml.Node
		if err := yaml.Unmarshal([]byte(text), &n); err != nil {
			t.Fatal(err)
		}
		err := outgoing.Decode(n.Content[0], &into)
		if (err == nil) != (words == "") || (err != nil && !strings.Contains(err.Error(), words)) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if outgoing.Decode(nil, &into) == nil {
		t.Error("nothing was taken")
	}
}

func TestURLs(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://a.example/b": true, "http://203.0.113.1:8080": true, "": false, "a.example": false, "ftp://a.example": false, "https://": false, "https://\x00": false,
		"http://127.0.0.1": false, "http://localhost.": false, "http://a.localhost": false, "http://10.1.2.3": false, "http://[::1]": false, "http://[fd00::1]": false,
		"http://169.254.169.254": false, "http://0.0.0.0": false, "http://[::ffff:192.168.0.1]": false,
	} {
		err := outgoing.CheckURL("url", url, false)
		if (err == nil) != ok || (err != nil && !strings.HasPrefix(err.Error(), "url: ")) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if err := outgoing.CheckURL("url", "http://127.0.0.1", true); err != nil {
		t.Error(err)
	}
}

func TestMessageID(t *testing.T) {
	id := uuid.New()
	if got := outgoing.MessageID(outgoing.WithMessageID(t.Context(), id)); got != id {
		t.Errorf("%s", got)
	}
	if first, second := outgoing.MessageID(t.Context()), outgoing.MessageID(t.Context()); first == second {
		t.Error("the same twice")
	}
}
