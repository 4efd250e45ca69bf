package slack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"
)

const (
	maxRequest    = 256 << 10 // bytes; Slack sends the message with each press of a button, 50 blocks at most
	signatureLife = 5 * time.Minute
	// seenWait is how long the look for a replay may take: Slack wants its answer within 3 s.
	seenWait = 2 * time.Second
)

// signed serves a request only if Slack signed it, within the last five minutes, and it was not served before.
func (a *App) signed(serve func(http.ResponseWriter, *http.Request, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
			a.refuse(w, r, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is longer than %d bytes", tooLong.Limit), outcomeRefused, err)
			return
		}
		if err != nil {
			a.refuse(w, r, http.StatusBadRequest, "the body cannot be read", outcomeRefused, err)
			return
		}
		stamp := r.Header.Get("X-Slack-Request-Timestamp")
		if err := a.verify(r.Header, body); err != nil {
			a.refuse(w, r, http.StatusUnauthorized, "the signature is not Slack's, or too old", outcomeRefused, err)
			return
		}
		first, err := a.see(r.Context(), stamp, body)
		if err != nil {
			a.refuse(w, r, http.StatusServiceUnavailable, "try again in a moment", outcomeFailed, err)
			return
		}
		if !first {
			a.refuse(w, r, http.StatusConflict, "this request was served already", outcomeRefused, errors.New("replayed"))
			return
		}
		a.metrics.requests.WithLabelValues(path.Base(r.URL.Path), "served").Inc()
		r.Body = io.NopCloser(bytes.NewReader(body))
		serve(w, r, body)
	}
}

// refuse answers a request that is not served.
func (a *App) refuse(w http.ResponseWriter, r *http.Request, status int, text, outcome string, err error) {
	endpoint := path.Base(r.URL.Path)
	a.metrics.requests.WithLabelValues(endpoint, outcome).Inc()
	a.o.Logger.WarnContext(r.Context(), "slack: a request was not served", "endpoint", endpoint, "status", status, "error", err)
	http.Error(w, text, status)
}

func (a *App) verify(h http.Header, body []byte) error {
	v, err := slack.NewSecretsVerifier(h, a.o.SigningSecret)
	if err != nil {
		return err
	}
	if _, err := v.Write(body); err != nil {
		return err
	}
	return v.Ensure()
}

// see notes what was signed until its signature has expired, and reports whether this was the first time. It is what was signed, not
// how the signature is spelt, that tells requests apart.
func (a *App) see(ctx context.Context, stamp string, body []byte) (bool, error) {
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, seenWait)
	defer cancel()
	sum := sha256.Sum256(append([]byte("v0:"+stamp+":"), body...))
	return a.o.Once.SeeSlackRequest(ctx, sum, time.Unix(at, 0).Add(signatureLife+time.Minute))
}

// answerNow answers a request whose work goes on.
func answerNow(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }

// answer is what a person who typed or pressed something is told; nobody else sees it.
type answer struct {
	Type    string `json:"response_type"`
	Replace bool   `json:"replace_original"`
	Text    string `json:"text"`
}

func ephemeral(text string) answer { return answer{Type: "ephemeral", Text: text} }

// answerText answers a command at once.
func answerText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	b, err := json.Marshal(ephemeral(text))
	if err == nil {
		_, _ = w.Write(b) // Slack may be gone
	}
}

// hookURL is the response_url if it is Slack's. Slack signed the request it came with, but what is not Slack's is not asked for.
func hookURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host != slackHooks || u.User != nil || u.Opaque != "" || u.Fragment != "" || !strings.HasPrefix(u.Path, "/") {
		return "", errors.New("the response_url is not Slack's")
	}
	return u.String(), nil
}

// respond sends an answer to a response_url.
func (a *App) respond(ctx context.Context, to, text string) {
	if err := a.tryRespond(ctx, to, text); err != nil {
		a.o.Logger.WarnContext(ctx, "slack: an answer could not be given", "error", err)
	}
}

func (a *App) tryRespond(ctx context.Context, to, text string) error {
	hook, err := hookURL(to)
	if err != nil {
		return err
	}
	body, err := json.Marshal(ephemeral(text))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hook, bytes.NewReader(body)) //nolint:gosec // hookURL lets through no host but Slack's
	if err != nil {
		return errors.New("the response_url cannot be used") // the error would show it
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	res, err := a.o.Client.Do(req) //nolint:gosec // as above
	if err != nil {
		return withoutURL(err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("slack answered an answer with status %d", res.StatusCode)
	}
	return nil
}
