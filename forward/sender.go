package forward

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tokiflow/tokiflow/core/forward"
)

// The longest a Retry-After is obeyed: nobody is left without samples for longer by a slip.
const longestWish = time.Hour

// awayError says that the receiver cannot be reached or has no time. Its text may be shown to the organisation.
type awayError struct {
	text  string
	after time.Duration // as it wishes; 0: it does not say
}

// Error is the text.
func (e *awayError) Error() string { return e.text }

// sender carries bodies to one receiver.
type sender struct {
	client   Client
	o        *Options
	metrics  *metrics
	kind     string
	endpoint string
	header   http.Header
	hide     *strings.Replacer // of secrets that a receiver says back
}

func newSender(f *Forwarder, c *forward.Config, s *forward.Secret) *sender {
	h := http.Header{}
	for name, value := range s.Headers {
		h.Set(name, value)
	}
	if s.Username != "" || s.Password != "" {
		r := http.Request{Header: h}
		r.SetBasicAuth(s.Username, s.Password)
	}
	if s.Bearer != "" {
		h.Set("Authorization", "Bearer "+s.Bearer)
	}
	h.Set("User-Agent", "Tokiflow/"+orUnknown(f.o.Version))
	if c.Kind == forward.Datadog {
		h.Set("Content-Type", "application/json")
		h.Set("Content-Encoding", "gzip")
		h.Set("DD-API-KEY", s.APIKey)
	} else {
		h.Set("Content-Type", "application/x-protobuf")
		h.Set("Content-Encoding", "snappy")
		h.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	}
	return &sender{
		client: f.o.Client, o: &f.o, metrics: f.metrics, kind: string(c.Kind), endpoint: c.Endpoint(), header: h, hide: hider(s),
	}
}

// hider takes secrets out of what receivers say: it is shown to whoever may read.
func hider(s *forward.Secret) *strings.Replacer {
	secrets := []string{s.Username, s.Password, s.Bearer, s.APIKey}
	if s.Username != "" || s.Password != "" {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(s.Username+":"+s.Password))) // as it is sent
	}
	for value := range maps.Values(s.Headers) {
		secrets = append(append(secrets, value), strings.Fields(value)...) // Bearer …
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) }) // the whole before its parts
	var pairs []string
	for _, secret := range secrets {
		if len(secret) >= 4 { // shorter ones are words of any language
			pairs = append(pairs, secret, "***")
		}
	}
	return strings.NewReplacer(pairs...)
}

func orUnknown(version string) string {
	if version == "" {
		return "unknown"
	}
	return version
}

// send carries one body, trying again for as long as patience lasts. refused says why the receiver does not want it; the error is
// an *awayError, or ctx's.
func (s *sender) send(ctx context.Context, body []byte) (refused string, err error) {
	for begun, try := s.o.Clock(), 1; ; try++ {
		refused, err := s.once(ctx, body)
		away, ok := errors.AsType[*awayError](err)
		if !ok {
			return refused, err
		}
		s.metrics.failed.WithLabelValues(s.kind).Inc()
		wait := max(away.after, backoff(s.o.Pause, try, s.o.Patience))
		if s.o.Clock().Add(wait).Sub(begun) > s.o.Patience {
			return "", err
		}
		sleep(ctx, wait)
	}
}

// once makes one request.
func (s *sender) once(ctx context.Context, body []byte) (refused string, err error) {
	reqCtx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(reqCtx, http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return "", &awayError{text: "the URL cannot be used"}
	}
	req.Header = s.header.Clone()
	begun := time.Now()
	res, err := s.client.Do(req)
	if ctx.Err() != nil && err != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", &awayError{text: "cannot be reached: " + plain(reason(err))}
	}
	defer func() { _ = res.Body.Close() }()
	said, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10)) // the status is what counts
	s.metrics.duration.WithLabelValues(s.kind).Observe(time.Since(begun).Seconds())
	return judge(res, s.hide.Replace(string(said)), s.o.Clock())
}

// judge reads an answer as remote write says: 2xx is taken, 429 and 5xx mean later, anything else never. Datadog has 408 too.
func judge(res *http.Response, said string, now time.Time) (refused string, err error) {
	code := res.StatusCode
	text := fmt.Sprintf("it answers %d: %s", code, plain(said))
	switch {
	case code/100 == 2:
		return "", nil
	case code/100 == 5 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return "", &awayError{text: text, after: retryAfter(res.Header.Get("Retry-After"), now)}
	case code/100 == 3:
		return fmt.Sprintf("it answers %d: redirects are not followed, give the URL itself", code), nil
	}
	return text, nil
}

// retryAfter reads the header (RFC 9110, section 10.2.3): seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	var d time.Duration
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		d = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), longestWish)
}

// reason is what went wrong without the URL, which the client puts in front.
func reason(err error) string {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if u.Timeout() {
			return "no answer in time"
		}
		err = u.Err
	}
	return err.Error()
}

// plain makes a stranger's text fit to be kept and shown: one line of printable UTF-8, not long.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar:
			return '?'
		case unicode.IsPrint(r):
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
