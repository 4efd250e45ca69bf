package loadgen

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func parseURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestExchangeWithNetHTTP(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 10)
		n, _ := r.Body.Read(body)
		w.Header().Set("Ping-Id", "0190")
		switch r.URL.Path {
		case "/chunked":
			_, _ = w.Write([]byte("one "))
			w.(http.Flusher).Flush()
			_, _ = w.Write([]byte("two"))
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/bye":
			w.Header().Set("Connection", "close")
			_, _ = w.Write([]byte("bye"))
		default:
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte(r.Method + " " + r.Header.Get("X-Api-Key") + " " + string(body[:n])))
		}
	}))
	defer s.Close()
	base := parseURL(t, s.URL)
	w, err := dial(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	defer w.shut()
	f := func(path, header, body string, status int, want string, closes bool) {
		t.Helper()
		a, err := w.exchange(request(base, path, []byte(header), []byte(body)))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if a.status != status || string(a.body) != want || string(a.pingID) != "0190" || a.close != closes {
			t.Errorf("%s: status %d, body %q, id %q, close %v", path, a.status, a.body, a.pingID, a.close)
		}
	}
	f("/x", "", "", 418, "GET  ", false)
	f("/x", "X-Api-Key: k\r\n", "text", 418, "POST k text", false)
	f("/chunked", "", "", 200, "one two", false)
	f("/none", "", "", 204, "", false)
	f("/x", "", "", 418, "GET  ", false)
	f("/bye", "", "", 200, "bye", true)
}

func TestDialToNobody(t *testing.T) {
	t.Parallel()
	if _, err := dial(t.Context(), parseURL(t, "http://127.0.0.1:1")); err == nil {
		t.Error("no error")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nPing-Id: 1\r\nContent-Length: 2\r\n\r\nOK"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 404 no\n\n"))
	f.Add([]byte("HTTP/1.1 2x0 OK\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := &wire{in: bufio.NewReader(bytes.NewReader(text))}
		a, err := w.read()
		if err == nil && (a.status < 0 || a.status > 999) {
			t.Errorf("status %d", a.status)
		}
		if err == nil && !strings.HasPrefix(string(text), "HTTP/1.") {
			t.Errorf("%q was taken", text)
		}
	})
}
