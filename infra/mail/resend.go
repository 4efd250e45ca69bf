package mail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tokiflow/tokiflow/core/mail"
)

const (
	resendURL = "https://api.resend.com"
	maxAnswer = 64 << 10
	maxAfter  = time.Hour
)

// resendSender sends by Resend's API.
type resendSender struct {
	key    string
	url    string
	client *http.Client
}

func newResend(key string, s *Senders) *resendSender {
	r := &resendSender{key: key, url: strings.TrimRight(s.ResendURL, "/"), client: s.Client}
	if r.url == "" {
		r.url = resendURL
	}
	if r.client == nil {
		r.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return r
}

// resendMail is the body of POST /emails.
type resendMail struct {
	From    string            `json:"from"`
	To      []string          `json:"to"`
	ReplyTo string            `json:"reply_to,omitempty"`
	Subject string            `json:"subject"`
	Text    string            `json:"text,omitempty"`
	HTML    string            `json:"html,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// Send is mail.Sender's. A message of the same ID is sent once, however often it is tried within a day.
func (r *resendSender) Send(ctx context.Context, m mail.Message) error {
	c, err := check(m)
	if err != nil {
		return err
	}
	body := resendMail{From: c.from.String(), To: []string{c.to.String()}, Subject: m.Subject, Text: m.Text, HTML: m.HTML, Headers: map[string]string{}}
	for _, h := range c.headers {
		if h.name == "Reply-To" {
			body.ReplyTo = h.value
			continue
		}
		body.Headers[h.name] = h.value
	}
	if m.ID != "" {
		body.Headers["Message-ID"] = "<" + m.ID + ">"
	}
	payload, err := json.Marshal(body)
	if err != nil {
		return never("the message cannot be written: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/emails", bytes.NewReader(payload))
	if err != nil {
		return never("the address of Resend's API cannot be read")
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if m.ID != "" {
		req.Header.Set("Idempotency-Key", m.ID)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return &mail.Error{Retry: true, Err: fmt.Errorf("the API of Resend cannot be reached: %w", unwrapURL(err))}
	}
	defer func() { _ = res.Body.Close() }() // it was read as far as it is wanted
	return answered(res)
}

// unwrapURL leaves out the address, which says nothing here.
func unwrapURL(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

// answered says what an answer means: 429 and 5xx to try again, another 4xx not to.
func answered(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return nil // it was taken, whatever became of the rest of the answer
	}
	var said struct {
		Name    string `json:"name"`
		Message string `json:"message"`
	}
	if err != nil || json.Unmarshal(text, &said) != nil {
		said.Name, said.Message = "", ""
	}
	e := &mail.Error{
		Code: res.StatusCode, Retry: res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500, After: retryAfter(res.Header),
		Err: fmt.Errorf("the API of Resend answered %d%s", res.StatusCode, printable(colon(said.Message))),
	}
	if res.StatusCode == http.StatusConflict {
		switch said.Name {
		case "invalid_idempotent_request":
			return nil // another attempt of the same message, of other words perhaps, was taken before
		case "concurrent_idempotent_requests":
			e.Retry = true
		}
	}
	return e
}

func colon(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

// retryAfter is how long an answer asks to wait, in seconds; what is no number of them counts as nothing.
func retryAfter(h http.Header) time.Duration {
	for _, name := range []string{"Retry-After", "Ratelimit-Reset"} {
		if seconds, err := strconv.Atoi(h.Get(name)); err == nil && seconds > 0 {
			return min(time.Duration(min(seconds, 1<<20))*time.Second, maxAfter)
		}
	}
	return 0
}
