// Package outgoing posts for the notifiers of ours, and judges the answer: 2xx takes the message, 5xx, 408, 425 and 429 say to try
// again, everything else is a refusal that the same request would meet again.
package outgoing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"
)

// most is how much of an answer's body is read, in bytes; shown is how much of it an error holds.
const (
	most  = 64 << 10
	shown = 200
)

// Error is an answer that does not take the message. Its text holds the start of the answer's body.
type Error struct {
	code  int
	after time.Duration
	text  string
}

// NewError makes the error of a status. after is how long to stay away; 0: it was not said.
func NewError(code int, after time.Duration, text string) *Error {
	return &Error{code: code, after: after, text: text}
}

// Error says the status, and what was answered.
func (e *Error) Error() string {
	s := strings.TrimSpace("answered " + strconv.Itoa(e.code) + " " + http.StatusText(e.code))
	if e.code >= 300 && e.code <= 399 {
		s += ", a redirect: they are not followed, so configure the final URL"
	}
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// StatusCode is that of the answer.
func (e *Error) StatusCode() int { return e.code }

// RetryAfter is how long the receiver asked to be left alone; 0: it did not.
func (e *Error) RetryAfter() time.Duration { return e.after }

// Retry reports whether the same request may be taken later.
func (e *Error) Retry() bool {
	switch e.code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.code >= 500
}

// Post sends a body and returns the start of the answer's, 64 KiB at most. The error is an *Error where there was an answer that is no
// 2xx; it does not hold the URL. retry says whether to send the same again. The client must not follow redirects.
func Post(ctx context.Context, client *http.Client, to string, header http.Header, body []byte) (answer []byte, retry bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, false, fmt.Errorf("the request cannot be made: %w", WithoutURL(err))
	}
	req.Header.Set("User-Agent", "tokiflow")
	maps.Copy(req.Header, header)
	res, err := client.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, true, fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
		}
		return nil, true, fmt.Errorf("no answer: %w", WithoutURL(err))
	}
	answer, _ = io.ReadAll(io.LimitReader(res.Body, most)) // the status decides
	_ = res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode <= 299 {
		return answer, false, nil
	}
	e := NewError(res.StatusCode, Seconds(res.Header.Get("Retry-After"), time.Now()), printable(answer))
	return answer, e.Retry(), e
}

// Seconds reads a Retry-After header (RFC 9110, section 10.2.3), and with a fraction, as Discord writes it. What cannot be read, and what is
// past, is 0; more than a day is a day.
func Seconds(value string, now time.Time) time.Duration {
	const longest = 24 * time.Hour
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		if !(seconds > 0) { // not a number either
			return 0
		}
		return time.Duration(min(seconds, longest.Seconds()) * float64(time.Second))
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), longest)
}

// printable is the start of an answer, on one line.
func printable(answer []byte) string {
	s := strings.ToValidUTF8(string(answer[:min(len(answer), 4*shown)]), "")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(s); len(runes) > shown {
		return string(runes[:shown]) + "…"
	}
	return s
}

// WithoutURL drops the URL that net/http and net/url put into their errors.
func WithoutURL(err error) error {
	if withURL, ok := errors.AsType[*url.Error](err); ok {
		return withURL.Err
	}
	return err
}

// Decode reads an entry of a receiver strictly: a key that is not known is an error.
func Decode(n *yaml.Node, into any) error {
	if n == nil {
		return errors.New("is empty")
	}
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("is empty")
		}
		return err
	}
	return nil
}

// CheckURL says what is wrong with a URL that is to be posted to. The error has the key's name, and not the URL, which may be secret.
// Names are not resolved: whoever connects looks at what they resolve to.
func CheckURL(key, raw string, allowPrivate bool) error {
	if raw == "" {
		return fmt.Errorf("%s: is required", key)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%s: cannot be read as a URL", key)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return fmt.Errorf("%s: must start with http:// or https:// and have a host", key)
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if addr = addr.Unmap(); err != nil || allowPrivate || (addr.IsGlobalUnicast() && !addr.IsPrivate()) {
		return nil //nolint:nilerr // a name, no address
	}
	return fmt.Errorf("%s: %s is not a public address, and private ones are not allowed here", key, addr)
}

type idKey struct{}

// WithMessageID gives the notifier an id of what it sends that is the same in every attempt.
func WithMessageID(ctx context.Context, id uuid.UUID) context.Context {
	return context.WithValue(ctx, idKey{}, id)
}

// MessageID is the id given, or a new one.
func MessageID(ctx context.Context) uuid.UUID {
	if id, ok := ctx.Value(idKey{}).(uuid.UUID); ok {
		return id
	}
	return uuid.New()
}
