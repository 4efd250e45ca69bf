// Package client sends pings to a Tokiflow server, or to any server that speaks the ping API of Healthchecks, and repeats
// them with backoff while the server cannot be reached.
package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
)

// DefaultBodyLimit is how many bytes of a body a server keeps unless its answers announce another limit.
const DefaultBodyLimit = 100_000

// The defaults of Options.
const (
	DefaultAttempt = 5 * time.Second
	DefaultGiveUp  = 15 * time.Second
)

// ErrRefused is wrapped by the error of a ping that the server will never take as it is: repeating it is of no use.
var ErrRefused = errors.New("refused")

// Options tells a Client where and how to send.
type Options struct {
	BaseURL   string        // the server's address, such as http://127.0.0.1:8080; a path in it is kept
	Attempt   time.Duration // how long one attempt may take; 0: DefaultAttempt
	GiveUp    time.Duration // how long Send goes on trying, the last attempt included; 0: DefaultGiveUp
	UserAgent string        // empty: "tokiflow"
}

func (o Options) withDefaults() Options {
	if o.Attempt <= 0 {
		o.Attempt = DefaultAttempt
	}
	if o.GiveUp <= 0 {
		o.GiveUp = DefaultGiveUp
	}
	if o.UserAgent == "" {
		o.UserAgent = "tokiflow"
	}
	return o
}

// Client sends pings. It is safe for concurrent use.
type Client struct {
	o    Options
	base *url.URL
	http *http.Client
}

// New checks the options and makes a client. Close lets its idle connections go.
func New(o Options) (*Client, error) {
	base, err := ParseBaseURL(o.BaseURL)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{}).DialContext,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     30 * time.Second,
	}
	return &Client{o: o.withDefaults(), base: base, http: &http.Client{Transport: transport}}, nil
}

// Close lets idle connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ParseBaseURL reads the address of a server and says what is wrong with it.
func ParseBaseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("base URL %q: %w", s, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("base URL %q: must begin with http:// or https:// and name a host", s)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("base URL %q: must have neither a query nor a fragment", s)
	}
	return u, nil
}

// Ping is what to send. Its zero value but for Target is a success without anything else; use NewPing.
type Ping struct {
	Target   string          // the ping key (a UUID), or "project key/slug"
	Kind     record.PingKind // ignored where ExitCode is set
	ExitCode int             // 0 to 255; negative: none
	RID      uuid.UUID       // run id; uuid.Nil: none
	Duration time.Duration   // the run's measured duration; negative: none
	Create   bool            // make the monitor when the slug is unknown
	Body     []byte
}

// NewPing returns a ping of the kind without exit status and duration.
func NewPing(target string, kind record.PingKind) Ping {
	return Ping{Target: target, Kind: kind, ExitCode: -1, Duration: -1}
}

// URL is the address that p is sent to.
func (p Ping) URL(base *url.URL) string {
	parts := []string{base.Path, "ping", p.Target}
	switch {
	case p.ExitCode >= 0:
		parts = append(parts, strconv.Itoa(p.ExitCode))
	case p.Kind != record.Success && p.Kind != 0:
		parts = append(parts, p.Kind.String())
	}
	query := url.Values{}
	if p.RID != uuid.Nil {
		query.Set("rid", p.RID.String())
	}
	if p.Duration >= 0 {
		query.Set("duration", strconv.FormatFloat(p.Duration.Seconds(), 'f', 6, 64))
	}
	if p.Create {
		query.Set("create", "1")
	}
	u := *base
	u.Path, u.RawPath = path.Join("/", path.Join(parts...)), ""
	u.RawQuery = query.Encode()
	return u.String()
}

// Check says what is wrong with the ping before it is sent.
func (p Ping) Check() error {
	if strings.Trim(p.Target, "/") == "" {
		return errors.New("no ping key: give a monitor's UUID, or project key/slug")
	}
	if strings.Count(p.Target, "/") > 1 || strings.ContainsAny(p.Target, "?# \t\n") {
		return fmt.Errorf("ping key %q: must be a monitor's UUID, or project key/slug", p.Target)
	}
	if p.ExitCode > 255 {
		return fmt.Errorf("exit status %d: must be from 0 to 255", p.ExitCode)
	}
	return nil
}

// Answer is what the server said of a ping that it took.
type Answer struct {
	Status    int
	Text      string // the body, at most 1 KiB of it, trimmed
	PingID    string // empty where the server does not announce one
	BodyLimit int    // bytes of a body that the server keeps
}

// Send sends p until the server takes it, refuses it (ErrRefused), Options.GiveUp has passed or ctx ends. A ping whose
// answer was lost is sent again: the server may have it twice then.
func (c *Client) Send(ctx context.Context, p Ping) (Answer, error) {
	if err := p.Check(); err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.GiveUp)
	defer cancel()
	pace := backoff.NewExponentialBackOff()
	pace.InitialInterval, pace.MaxInterval = 200*time.Millisecond, 5*time.Second
	var last error // why the latest attempt failed: the end of the time says less
	answer, err := backoff.Retry(ctx, func() (Answer, error) {
		a, err := c.Once(ctx, p)
		if err != nil && (last == nil || ctx.Err() == nil) {
			last = err
		}
		if errors.Is(err, ErrRefused) {
			return a, backoff.Permanent(err)
		}
		return a, err
	}, backoff.WithBackOff(pace), backoff.WithMaxElapsedTime(c.o.GiveUp))
	if err != nil && last != nil {
		return answer, last
	}
	return answer, err
}

// Once makes one attempt of at most Options.Attempt.
func (c *Client) Once(ctx context.Context, p Ping) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Attempt)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL(c.base), bytes.NewReader(p.Body))
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	req.Header.Set("User-Agent", c.o.UserAgent)
	if len(p.Body) > 0 {
		req.Header.Set("Content-Type", "text/plain")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return Answer{}, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		return Answer{}, fmt.Errorf("reading the answer: %w", err)
	}
	a := Answer{
		Status: resp.StatusCode, Text: strings.TrimSpace(string(text)),
		PingID: resp.Header.Get("Ping-Id"), BodyLimit: DefaultBodyLimit,
	}
	if n, err := strconv.Atoi(resp.Header.Get("Ping-Body-Limit")); err == nil && n >= 0 {
		a.BodyLimit = n
	}
	return a, judge(a, resp.Header.Get("Retry-After"))
}

// withoutURL takes the address out of the error: it holds the ping key, which does not belong into logs.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// judge says whether the answer means that the ping was taken, is refused for good, or should be sent again.
func judge(a Answer, retryAfter string) error {
	if a.Status >= 200 && a.Status < 300 {
		return nil
	}
	err := &statusError{status: a.Status, text: a.Text}
	switch a.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		if a.Status < 500 {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	if seconds, parsed := strconv.Atoi(retryAfter); parsed == nil && seconds > 0 {
		err.after = time.Duration(seconds) * time.Second
	}
	return err
}

// statusError is an answer that did not take the ping.
type statusError struct {
	status int
	text   string
	after  time.Duration // the server's Retry-After; 0: none
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("the server answered %d", e.status)
	if line, _, _ := strings.Cut(e.text, "\n"); line != "" {
		s += ": " + line[:min(len(line), 200)]
	}
	return s
}

// Unwrap makes the retries wait as long as the server asked.
func (e *statusError) Unwrap() error {
	if e.after == 0 {
		return nil
	}
	return &backoff.RetryAfterError{Duration: e.after}
}
