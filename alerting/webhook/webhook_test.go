package webhook_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/alerting"
	"github.com/tokiflow/tokiflow/alerting/webhook"
	"github.com/tokiflow/tokiflow/core/alert"
)

var _ alerting.Receiver = (*webhook.Receiver)(nil)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T) *http.Client {
	t.Helper()
	c := &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func receiver(t *testing.T, c webhook.Config) *webhook.Receiver {
	t.Helper()
	if c.Client == nil {
		c.Client = client(t)
	}
	r, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func delivery() alert.Delivery {
	return alert.Delivery{
		ID: 4, Outbox: 7, Incident: uuid.MustParse("0b9c3f5e-3c43-5d1e-8f6a-3d1e9d2c4b5a"), Attempt: 1,
		Type: alert.TypeOpened, Payload: []byte(`{"type": "incident.opened", "data": {"name": "Sauvegarde — é"}}`),
	}
}

// heard is a request as it arrived.
type heard struct {
	header http.Header
	body   []byte
	path   string
	user   string
}

func listener(t *testing.T, answer http.HandlerFunc) (url string, requests <-chan heard) {
	t.Helper()
	all := make(chan heard, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		user, password, _ := r.BasicAuth()
		if r.Method != http.MethodPost {
			t.Errorf("method %s", r.Method)
		}
		all <- heard{r.Header.Clone(), body, r.URL.String(), user + password}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, all
}

func taken(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

func TestARequestIsSigned(t *testing.T) {
	url, requests := listener(t, taken)
	for _, c := range []struct {
		name, secret string
		verifier     func() (*standardwebhooks.Webhook, error)
	}{
		{"Base64", secret, func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhook(secret) }},
		{"raw", "correct horse battery staple", func() (*standardwebhooks.Webhook, error) {
			return standardwebhooks.NewWebhookRaw([]byte("correct horse battery staple"))
		}},
		{"with white space around it", " " + secret + "\n", func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhook(secret) }},
	} {
		r := receiver(t, webhook.Config{URL: url + "/hook?x=1", Secret: c.secret, UserAgent: "tokiflow/1.2"})
		if !r.Signed() {
			t.Errorf("%s: not signed", c.name)
		}
		answer, err := r.Notify(t.Context(), delivery())
		if err != nil || answer.StatusCode != 204 {
			t.Fatalf("%s: %+v, %v", c.name, answer, err)
		}
		got := <-requests
		verifier, err := c.verifier()
		if err != nil {
			t.Fatal(err)
		}
		if err := verifier.Verify(got.body, got.header); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if string(got.body) != string(delivery().Payload) {
			t.Errorf("body %s", got.body)
		}
		for name, want := range map[string]string{
			"Content-Type": "application/json", "User-Agent": "tokiflow/1.2", "Webhook-Id": delivery().MessageID(),
		} {
			if got := got.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if got.path != "/hook?x=1" {
			t.Errorf("path %s", got.path)
		}
	}
}

// The vector of Standard Webhooks' own libraries: that library signs here, so it cannot be the only judge.
func TestSignatureVector(t *testing.T) {
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := signer.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want || err != nil {
		t.Errorf("got %s, want %s, %v", got, want, err)
	}
}

func TestTheIDStaysAndTheTimeIsOfTheAttempt(t *testing.T) {
	url, requests := listener(t, taken)
	r := receiver(t, webhook.Config{URL: url, Secret: secret})
	var ids []string
	for attempt := 1; attempt <= 2; attempt++ {
		d := delivery()
		d.Attempt, d.CreatedAt = attempt, time.Now().Add(-time.Hour)
		before := time.Now().Unix()
		if _, err := r.Notify(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		got := <-requests
		ids = append(ids, got.header.Get("Webhook-Id"))
		at, err := strconv.ParseInt(got.header.Get("Webhook-Timestamp"), 10, 64)
		if err != nil || at < before || at > time.Now().Unix() {
			t.Errorf("timestamp %d, %v", at, err)
		}
	}
	if ids[0] != ids[1] || ids[0] == "" {
		t.Errorf("ids %v", ids)
	}
}

func TestWithoutASecretNothingIsSigned(t *testing.T) {
	url, requests := listener(t, taken)
	r := receiver(t, webhook.Config{URL: url})
	if _, err := r.Notify(t.Context(), delivery()); err != nil || r.Signed() {
		t.Errorf("signed %t, %v", r.Signed(), err)
	}
	got := <-requests
	if got.header.Get("Webhook-Signature") != "" || got.header.Get("Webhook-Id") == "" || got.header.Get("Webhook-Timestamp") == "" {
		t.Errorf("headers %v", got.header)
	}
}

func TestUserAndPasswordOfTheURL(t *testing.T) {
	url, requests := listener(t, taken)
	r := receiver(t, webhook.Config{URL: strings.Replace(url, "http://", "http://ann:s3cret@", 1)})
	if _, err := r.Notify(t.Context(), delivery()); err != nil {
		t.Fatal(err)
	}
	if got := (<-requests).user; got != "anns3cret" {
		t.Errorf("user and password %q", got)
	}
}

func TestEveryStatus(t *testing.T) {
	for code := 200; code <= 599; code++ {
		url, _ := listener(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(code)
		})
		answer, err := receiver(t, webhook.Config{URL: url}).Notify(t.Context(), delivery())
		if answer.StatusCode != code {
			t.Errorf("%d: status %d, %v", code, answer.StatusCode, err)
		}
		if want := code >= 200 && code <= 299; (err == nil) != want {
			t.Errorf("%d: taken %t, want %t", code, err == nil, want)
		}
		wantRefused := code >= 300 && code <= 499 && code != 408 && code != 425 && code != 429
		if answer.Refused != wantRefused {
			t.Errorf("%d: refused %t, want %t", code, answer.Refused, wantRefused)
		}
		if err != nil && !strings.Contains(err.Error(), strconv.Itoa(code)) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"17":                            17 * time.Second,
		" 17 ":                          17 * time.Second,
		"-1":                            0,
		"1.5":                           0,
		"soon":                          0,
		"99999999":                      24 * time.Hour,
		"Mon, 02 Jan 2006 15:04:05 GMT": 0,
		"Fri, 01 Jan 2100 00:00:00 GMT": 24 * time.Hour,
		time.Now().UTC().Add(time.Hour).Format(http.TimeFormat): time.Hour,
	} {
		url, _ := listener(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		answer, err := receiver(t, webhook.Config{URL: url}).Notify(t.Context(), delivery())
		if err == nil || answer.RetryAfter > want || answer.RetryAfter < want-time.Minute {
			t.Errorf("%q: %v, want %v; %v", value, answer.RetryAfter, want, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var hits atomic.Int64
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer inside.Close()
	url, _ := listener(t, http.RedirectHandler(inside.URL+"/?token=s3cret", http.StatusTemporaryRedirect).ServeHTTP)
	_, err := receiver(t, webhook.Config{URL: url}).Notify(t.Context(), delivery())
	if err == nil || hits.Load() != 0 || !strings.Contains(err.Error(), "configure the final URL") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%d requests, %v", hits.Load(), err)
	}
}

func TestAHangingReceiverEndsWithTheContext(t *testing.T) {
	release := make(chan struct{})
	url, _ := listener(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	answer, err := receiver(t, webhook.Config{URL: url}).Notify(ctx, delivery())
	if err == nil || err.Error() != "no answer in time" || answer != (alert.Answer{}) {
		t.Errorf("%+v, %v", answer, err)
	}
}

func TestAnEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	var written atomic.Int64
	url, _ := listener(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			n, err := w.Write(make([]byte, 32<<10))
			if written.Add(int64(n)); err != nil {
				return
			}
		}
	})
	answer, err := receiver(t, webhook.Config{URL: url}).Notify(t.Context(), delivery())
	if err != nil || answer.StatusCode != 200 {
		t.Errorf("%+v, %v", answer, err)
	}
	if n := written.Load(); n > 64<<20 { // what the kernel's buffers took comes on top of the 64 KiB read
		t.Errorf("%d bytes were written", n)
	}
}

func TestBrokenAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":        "",
		"not HTTP":       "SSH-2.0-OpenSSH_9.2\r\n",
		"half a header":  "HTTP/1.1 200 OK\r\nContent-",
		"endless header": "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 12000),
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}()
		got, err := receiver(t, webhook.Config{URL: "http://" + l.Addr().String() + "/token/s3cret?key=s3cret"}).Notify(t.Context(), delivery())
		if err == nil || got.StatusCode != 0 || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		_ = l.Close()
		<-done
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	r := receiver(t, webhook.Config{URL: "http://ann:s3cret@127.0.0.1:1/token/s3cret?key=s3cret", Secret: secret})
	_, err := r.Notify(t.Context(), delivery())
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
	if _, ok := errors.AsType[net.Error](err); !ok {
		t.Errorf("the cause is hidden: %v", err)
	}
	if strings.Contains(r.Name(), "s3cret") {
		t.Errorf("name %s", r.Name())
	}
	for _, bad := range []webhook.Config{
		{URL: ""},
		{URL: "s3cret"},
		{URL: "ftp://s3cret/"},
		{URL: "http://"},
		{URL: "http:///s3cret"},
		{URL: "https:s3cret"},
		{URL: "http://ann:s3cret@exa mple.com/"},
		{URL: "http://ann:s3cret@example.com:port/"},
		{URL: "http://example.com/\x7fs3cret"},
		{URL: "https://example.com/", Secret: "whsec_s3cret!"},
		{URL: "https://example.com/", Secret: "whsec_"},
	} {
		bad.Client = client(t)
		if _, err := webhook.New(bad); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := webhook.New(webhook.Config{URL: "https://example.com"}); err == nil {
		t.Error("made without a client")
	}
}

func TestNames(t *testing.T) {
	name := func(url string) string { return receiver(t, webhook.Config{URL: url}).Name() }
	if got, want := name("https://Hooks.Example.com:8443/services/T000/s3cret?x=1"), "hooks.example.com:8443-"; !strings.HasPrefix(got, want) || len(got) != len(want)+8 {
		t.Errorf("name %s", got)
	}
	same := []string{"https://example.com/a", "https://ann:old@example.com/a", "https://ann:new@example.com/a", "https://example.com/a#part", " https://example.com/a "}
	if got, want := name(same[0]), "example.com-2dce0a4c"; got != want {
		t.Errorf("the name changed from %s to %s: what waits for this receiver is lost sight of", want, got)
	}
	for _, url := range same {
		if name(url) != name(same[0]) {
			t.Errorf("%s is named %s", url, name(url))
		}
	}
	seen := []string{}
	for _, url := range []string{"https://example.com/a", "https://example.com/b", "https://example.com/a?team=1", "http://example.com/a"} {
		if slices.Contains(seen, name(url)) {
			t.Errorf("%s is named as another one", url)
		}
		seen = append(seen, name(url))
	}
}
