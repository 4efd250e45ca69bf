package slack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxAnswer   = 4 << 20          // bytes of an answer that are read; a page of 1,000 channels has about 1 MB
	callTimeout = 10 * time.Second // of one request
	// shortWait is how long a call waits by itself when Slack asks for it. For longer the caller is told, and comes back.
	shortWait = 5 * time.Second
	// longestWait bounds what Slack may ask for.
	longestWait = time.Hour
	// patience is how often one call asks again after it has waited.
	patience = 3
)

// limitedClient sends requests no sooner than Slack wants them: by workspace and method, as Slack counts. Safe for concurrent use.
type limitedClient struct {
	client  *http.Client
	now     func() time.Time
	metrics *metrics

	mu    sync.Mutex
	gates map[string]time.Time // closed until
}

func newLimitedClient(c *http.Client, now func() time.Time, m *metrics) *limitedClient {
	return &limitedClient{client: c, now: now, metrics: m, gates: map[string]time.Time{}}
}

// teamClient is what slack-go sends its requests with.
type teamClient struct {
	*limitedClient
	team string
}

// Do sends a request. Every answer but 200 is a callError.
func (c teamClient) Do(req *http.Request) (*http.Response, error) {
	method := path.Base(req.URL.Path)
	gate := c.team + "/" + method
	for tries := 1; ; tries++ {
		wait := c.closedFor(gate)
		if wait > 0 {
			if tries > patience || !bearable(req.Context(), wait) {
				return nil, &callError{method: method, status: http.StatusTooManyRequests, after: wait}
			}
			if err := sleep(req.Context(), wait); err != nil {
				return nil, &callError{method: method, err: err}
			}
		}
		res, err := c.once(req, method)
		call, failed := errors.AsType[*callError](err)
		if !failed || call.status != http.StatusTooManyRequests {
			return res, err
		}
		c.close(gate, call.after)
	}
}

// once sends the request one time.
func (c teamClient) once(req *http.Request, method string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), callTimeout)
	sent := req.Clone(ctx)
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			cancel()
			return nil, &callError{method: method, err: err}
		}
		sent.Body = body
	}
	res, err := c.client.Do(sent) //nolint:gosec // the host is the configured API's
	if err != nil {
		cancel()
		c.metrics.calls.WithLabelValues(method, outcomeFailed).Inc()
		return nil, &callError{method: method, err: withoutURL(err)}
	}
	res.Body = &limitedBody{Reader: io.LimitReader(res.Body, maxAnswer), closer: res.Body, cancel: cancel}
	if res.StatusCode == http.StatusOK {
		c.metrics.calls.WithLabelValues(method, outcomeOK).Inc() // refusals inside are counted by who reads them
		return res, nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	_ = res.Body.Close()
	failed := &callError{method: method, status: res.StatusCode}
	counted := outcomeFailed
	if res.StatusCode == http.StatusTooManyRequests {
		failed.after, counted = retryAfter(res.Header, c.now()), outcomeLimited
	}
	c.metrics.calls.WithLabelValues(method, counted).Inc()
	return nil, failed
}

// closedFor is how long the gate stays closed.
func (c *limitedClient) closedFor(gate string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gates[gate].Sub(c.now())
}

func (c *limitedClient) close(gate string, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for name, until := range c.gates {
		if until.Before(now) {
			delete(c.gates, name)
		}
	}
	if until := now.Add(wait); until.After(c.gates[gate]) {
		c.gates[gate] = until
	}
}

// bearable reports whether a call may wait so long and still have time to be made.
func bearable(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return wait <= shortWait && (!ok || time.Until(deadline) > wait+500*time.Millisecond)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retryAfter is what the answer asks for, in seconds or as a date; where it says nothing of use, a second.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	wait := time.Second
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		wait = time.Duration(min(max(seconds, 0), int64(longestWait/time.Second))) * time.Second
	} else if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 100*time.Millisecond), longestWait)
}

// withoutURL is the cause of a failed request alone: addresses may carry secrets.
func withoutURL(err error) error {
	if cause := errors.Unwrap(err); cause != nil {
		return cause
	}
	return fmt.Errorf("%w", err)
}

// limitedBody ends the request's context when it is closed.
type limitedBody struct {
	io.Reader
	closer io.Closer
	cancel context.CancelFunc
}

func (b *limitedBody) Close() error {
	defer b.cancel()
	return b.closer.Close()
}
