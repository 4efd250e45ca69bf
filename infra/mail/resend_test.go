package mail_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	core "github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/infra/mail"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

func resend(t *testing.T, answer http.HandlerFunc) core.Sender {
	t.Helper()
	server := httptest.NewServer(answer)
	client := safehttp.New(safehttp.Options{AllowPrivate: true})
	t.Cleanup(func() { client.CloseIdleConnections(); server.Close() })
	return (&mail.Senders{Client: client, ResendURL: server.URL}).Resend("re_s3cret")
}

func TestResendIsAskedAsItWantsToBe(t *testing.T) {
	var body map[string]any
	var got http.Header
	s := resend(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		if r.Method != http.MethodPost || r.URL.Path != "/emails" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, `{"id":"x"}`)
	})
	m := note()
	m.To.Address, m.References, m.InReplyTo = "team@bücher.example", []string{"root@example.com"}, "0@example.com"
	m.Unsubscribe = "https://tokiflow.example.com/u?t=x"
	m.Headers = map[string]string{"Reply-To": "ops@example.com", "X-Team": "Süd"}
	if err := s.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"from": `"Tokiflow" <alerts@example.com>`, "to": []any{`"Team" <team@xn--bcher-kva.example>`}, "reply_to": "ops@example.com",
		"subject": m.Subject, "text": m.Text, "html": m.HTML,
		"headers": map[string]any{
			"Message-ID": "<1@example.com>", "In-Reply-To": "<0@example.com>", "References": "<root@example.com>", "X-Team": "Süd",
			"List-Unsubscribe": "<https://tokiflow.example.com/u?t=x>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
			"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All",
		},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer re_s3cret", "Idempotency-Key": "1@example.com", "Content-Type": "application/json",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: got %q", name, got.Get(name))
		}
	}
}

// TestResendAnswers is the table of every status.
func TestResendAnswers(t *testing.T) {
	for status := 200; status <= 599; status++ {
		s := resend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			if status != http.StatusNoContent && status != http.StatusNotModified {
				_, _ = io.WriteString(w, `{"name":"some_error","message":"because\r\n of it","statusCode":1}`)
			}
		})
		err := s.Send(t.Context(), note())
		if status < 300 {
			if err != nil {
				t.Errorf("%d: %v", status, err)
			}
			continue
		}
		e, ok := errors.AsType[*core.Error](err)
		if want := status == 429 || status >= 500; !ok || e.Code != status || e.Retry != want {
			t.Errorf("%d: got %+v", status, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, fmt.Sprint(status)) || strings.ContainsAny(text, "\r\n") || strings.Contains(text, "s3cret") {
			t.Errorf("%d: the error says %q", status, text)
		}
	}
}

func TestResendAsksToWait(t *testing.T) {
	for header, want := range map[string]time.Duration{"Retry-After: 7": 7 * time.Second, "Ratelimit-Reset: 3": 3 * time.Second, "Retry-After: 99999999": time.Hour, "Retry-After: soon": 0} {
		name, value, _ := strings.Cut(header, ": ")
		s := resend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(name, value)
			w.WriteHeader(http.StatusTooManyRequests)
		})
		if e, ok := errors.AsType[*core.Error](s.Send(t.Context(), note())); !ok || e.After != want || !e.Retry {
			t.Errorf("%s: got %+v", header, e)
		}
	}
}

func TestResendKnowsWhatItWasSent(t *testing.T) {
	conflict := func(name string) error {
		return resend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusConflict)
			_, _ = fmt.Fprintf(w, `{"name":%q,"message":"x"}`, name)
		}).Send(t.Context(), note())
	}
	if err := conflict("invalid_idempotent_request"); err != nil {
		t.Errorf("another attempt was taken before: %v", err)
	}
	if err := conflict("concurrent_idempotent_requests"); !core.CanRetry(err) {
		t.Errorf("another attempt is under way: %v", err)
	}
}

func TestResendIsAway(t *testing.T) {
	s := resend(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	})
	if err := s.Send(t.Context(), note()); !core.CanRetry(err) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
	big := resend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"message":"`+strings.Repeat("x", 1<<20)+`"}`)
	})
	if err := big.Send(t.Context(), note()); err == nil || len(err.Error()) > 500 {
		t.Errorf("an endless answer: %.100v", err)
	}
}

func TestResendRefusesWhatSMTPDoes(t *testing.T) {
	s := resend(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	for name, edit := range hostile() {
		m := note()
		edit(&m)
		if err := s.Send(t.Context(), m); err == nil || core.CanRetry(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
