package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/tenant"
)

var errDown = errors.New("down")

// endless gives that many bytes of 'x'. http.NewRequest does not know its length, so the body is sent in chunks.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := int(min(e.left, int64(len(p))))
	for i := range n {
		p[i] = 'x'
	}
	e.left -= int64(n)
	return n, nil
}

func TestBodyLimits(t *testing.T) {
	const limit = 1000
	b := start(t, func(o *Options) { o.BodyLimit = limit })
	path := "/ping/" + mainKey
	stored := 0
	for _, size := range []int64{0, 1, limit - 1, limit, limit + 1, firstRead, 1 << 20, maxBody - 1, maxBody, maxBody + 1, maxBody + 1<<20} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = &endless{left: size}
			if !chunked {
				body = bytes.NewReader(bytes.Repeat([]byte{'x'}, int(size)))
			}
			got := b.do(http.MethodPost, path, body)
			if size > maxBody {
				got.want(t, 413, "body too large")
				continue
			}
			stored++
			got.want(t, 200, "OK")
			p := b.log.last(t, stored)
			if p.BodySize != size || int64(len(p.Body)) != min(size, limit) {
				t.Errorf("%d bytes (chunked: %v): size %d and %d bytes are stored", size, chunked, p.BodySize, len(p.Body))
			}
		}
	}
	if got := b.get(path).header.Get("Ping-Body-Limit"); got != "1000" {
		t.Errorf("Ping-Body-Limit is %q", got)
	}
}

func TestNoBodiesKept(t *testing.T) {
	b := start(t, func(o *Options) { o.BodyLimit = 0 })
	b.post("/ping/"+mainKey, "hello").want(t, 200, "OK")
	if p := b.log.last(t, 1); p.BodySize != 5 || len(p.Body) != 0 {
		t.Errorf("size %d, body %q", p.BodySize, p.Body)
	}
}

// TestAnnouncedTooLarge: a body that says it is too large is refused before it is sent.
func TestAnnouncedTooLarge(t *testing.T) {
	b := start(t, nil)
	conn := dial(t, b.url)
	if _, err := io.WriteString(conn, "POST /ping/"+mainKey+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10485761\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 413") {
		t.Errorf("answered %q, %v", line, err)
	}
}

// TestBodyThatBreaksOff stores nothing and makes nothing.
func TestBodyThatBreaksOff(t *testing.T) {
	b := start(t, nil)
	for _, path := range []string{"/ping/" + mainKey, "/ping/" + projKey + "/fresh?create=1"} {
		conn := dial(t, b.url)
		if _, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this"); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 400") {
			t.Errorf("answered %q, %v", line, err)
		}
	}
	if n := len(b.log.all()); n != 0 || b.creator.calls != 0 {
		t.Errorf("%d pings are stored, the creator was called %d times", n, b.creator.calls)
	}
}

// TestSlowBody: how long a body may take is the server's to say; a ping whose body ran out of time is not recorded.
func TestSlowBody(t *testing.T) {
	b := start(t, nil)
	server := httptest.NewUnstartedServer(b.ingest.Front(http.NotFoundHandler()))
	server.Config.ReadTimeout = 100 * time.Millisecond
	server.Start()
	defer server.Close()
	conn := dial(t, server.URL)
	if _, err := io.WriteString(conn, "POST /ping/"+mainKey+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n') // comes when the server has had enough
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 400") {
		t.Errorf("answered %q, %v", line, err)
	}
	if n := len(b.log.all()); n != 0 {
		t.Errorf("%d pings are stored", n)
	}
}

func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestBodiesAreKeptVerbatim sends every byte there is, and noise, by each method.
func TestBodiesAreKeptVerbatim(t *testing.T) {
	b := start(t, nil)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	noise := make([]byte, 50_000)
	random := rand.NewChaCha8([32]byte{7})
	_, _ = random.Read(noise)
	stored := 0
	for _, body := range [][]byte{every, noise, []byte("Hello \xe9 World"), []byte("\r\n\x00"), []byte("žluťoučký kůň")} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			b.do(method, "/ping/"+mainKey, bytes.NewReader(body), "Content-Encoding", "gzip").want(t, 200, "OK")
			stored++
			if p := b.log.last(t, stored); !bytes.Equal(p.Body, body) || p.BodySize != int64(len(body)) {
				t.Errorf("%s: %d bytes became %d", method, len(body), len(p.Body))
			}
		}
	}
}

func TestBodiesAreRedacted(t *testing.T) {
	b := start(t, func(o *Options) {
		o.BodyLimit = 40
		o.Redact = func(org tenant.OrgID) []*regexp.Regexp {
			if org != orgA() {
				return nil
			}
			return []*regexp.Regexp{regexp.MustCompile(`customer-\d+`)}
		}
	})
	for i, c := range []struct{ body, want string }{
		{"token=abc ok", "token=[redacted] ok"},
		{"for customer-123 done", "for [redacted] done"},
		{"0123456789 0123456789 0123456 token=abcdef", "0123456789 0123456789 0123456 token=[red"},                      // longer than the limit
		{"0123456789 0123456789 0123456789 ghp_" + strings.Repeat("a", 36), "0123456789 0123456789 0123456789 [redact"}, // cut
	} {
		b.post("/ping/"+mainKey, c.body).want(t, 200, "OK")
		if p := b.log.last(t, i+1); string(p.Body) != c.want || p.BodySize != int64(len(c.body)) {
			t.Errorf("%q (%d) is stored of %q (%d)", p.Body, p.BodySize, c.body, len(c.body))
		}
	}
	b.do(http.MethodPost, "/ping/"+otherKey, strings.NewReader("for customer-123")).want(t, 200, "OK")
	if p := b.log.last(t, 5); string(p.Body) != "for customer-123" {
		t.Errorf("another organisation's pattern was applied: %q", p.Body)
	}
	b.do(http.MethodGet, "/ping/"+mainKey, nil, "User-Agent", "job password=x").want(t, 200, "OK")
	if p := b.log.last(t, 6); p.UserAgent != "job password=[redacted]" {
		t.Errorf("user agent %q", p.UserAgent)
	}
}
