// Package webhook posts alerts as JSON to a URL, signed as Standard Webhooks says (www.standardwebhooks.com).
//
// Every 2xx answer takes the message; everything else leaves it to be tried again. What is sent, and how to verify it, is
// in docs/webhooks.md.
package webhook

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/core/alert"
)

// maxAnswer is how much of an answer's body is read, in bytes: just enough to use the connection again.
const maxAnswer = 64 << 10

// Config of one receiver.
type Config struct {
	// URL that is posted to, http or https. It may hold secrets: it is never logged.
	URL string
	// Secret that signs: `whsec_` and Base64, or else the bytes as they stand. Empty: nothing is signed.
	Secret string
	// Client makes the requests. It decides which addresses may be reached and must not follow redirects.
	Client *http.Client
	// UserAgent of the requests. Empty: "tokiflow".
	UserAgent string
}

// Receiver posts to one URL. Safe for concurrent use.
type Receiver struct {
	name      string
	url       string
	signer    *standardwebhooks.Webhook // nil: unsigned
	client    *http.Client
	userAgent string
}

// New returns the receiver of a URL. Its errors hold neither the URL nor the secret.
func New(c Config) (*Receiver, error) {
	u, err := parse(c.URL)
	if err != nil {
		return nil, err
	}
	signer, err := newSigner(c.Secret)
	if err != nil {
		return nil, err
	}
	if c.Client == nil {
		return nil, errors.New("a webhook needs an HTTP client")
	}
	if c.UserAgent == "" {
		c.UserAgent = "tokiflow"
	}
	return &Receiver{name: nameOf(u), url: u.String(), signer: signer, client: c.Client, userAgent: c.UserAgent}, nil
}

func parse(raw string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return nil, fmt.Errorf("the webhook's URL cannot be read: %w", outgoing.WithoutURL(err))
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the webhook's URL must start with http:// or https://")
	}
	if u.Hostname() == "" {
		return nil, errors.New("the webhook's URL has no host")
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// nameOf derives a name that is stable, tells two URLs of one host apart and gives no secret away: the host, and the
// start of a hash of the URL. User and password are left out, so that the name outlives a new password.
func nameOf(u *url.URL) string {
	bare := *u
	bare.User = nil
	sum := sha256.Sum256([]byte(bare.String()))
	return strings.ToLower(u.Host) + "-" + hex.EncodeToString(sum[:4])
}

func newSigner(secret string) (*standardwebhooks.Webhook, error) {
	secret = strings.TrimSpace(secret)
	if secret == "" {
		return nil, nil
	}
	if !strings.HasPrefix(secret, "whsec_") {
		return standardwebhooks.NewWebhookRaw([]byte(secret))
	}
	signer, err := standardwebhooks.NewWebhook(secret)
	if err != nil || secret == "whsec_" {
		return nil, errors.New("the webhook's secret starts with whsec_, but what follows is not Base64: " +
			`make one with: echo "whsec_$(openssl rand -base64 32)"`)
	}
	return signer, nil
}

// Name of the receiver: derived from its URL, without the secrets in it.
func (r *Receiver) Name() string { return r.name }

// Signed reports whether the requests are signed.
func (r *Receiver) Signed() bool { return r.signer != nil }

// Notify posts the delivery's payload once. A nil error says that it was taken. The error is free of secrets; the answer
// holds what there was of one in any case. It blocks until ctx ends at the latest.
func (r *Receiver) Notify(ctx context.Context, d alert.Delivery) (alert.Answer, error) {
	req, err := r.request(ctx, d, time.Now())
	if err != nil {
		return alert.Answer{}, fmt.Errorf("the request cannot be made: %w", outgoing.WithoutURL(err))
	}
	res, err := r.client.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return alert.Answer{}, errors.New("no answer in time")
		}
		return alert.Answer{}, fmt.Errorf("no answer: %w", outgoing.WithoutURL(err))
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // what it says does not matter: the status decides
		_ = res.Body.Close()
	}()
	return judge(res, time.Now())
}

// request makes the signed request. The time is that of the attempt: receivers refuse old ones.
func (r *Receiver) request(ctx context.Context, d alert.Delivery, now time.Time) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(d.Payload))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", r.userAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, d.MessageID())
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if r.signer == nil {
		return req, nil
	}
	signature, err := r.signer.Sign(d.MessageID(), now, d.Payload)
	if err != nil {
		return nil, err
	}
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return req, nil
}

// judge says what an answer means: 2xx is taken, all else is not. A 4xx or 3xx is a refusal, but for those that speak of
// the moment only (408, 425, 429).
func judge(res *http.Response, now time.Time) (alert.Answer, error) {
	code := res.StatusCode
	answer := alert.Answer{StatusCode: code}
	if code >= 200 && code <= 299 {
		return answer, nil
	}
	answer.RetryAfter = retryAfter(res.Header.Get("Retry-After"), now)
	switch {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
	case code >= 300 && code <= 399:
		answer.Refused = true
		return answer, fmt.Errorf("answered %d, a redirect: they are not followed, so configure the final URL", code)
	default:
		answer.Refused = code >= 400 && code <= 499
	}
	return answer, fmt.Errorf("answered %s", strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code))))
}

// retryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds or a date. What cannot be read, and what is
// past, is 0; more than a day is a day.
func retryAfter(value string, now time.Time) time.Duration {
	const most = 24 * time.Hour
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(most/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), most)
}
