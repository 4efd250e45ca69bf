package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/tokiflow/tokiflow/core/alert"
)

// Received is one webhook.
type Received struct {
	alert.Message
	At        time.Time // of receipt
	MessageID string    // the same in every attempt
	Again     bool      // it came before
	Fault     string    // what is wrong with it; empty: nothing
}

// receiver takes webhooks and checks their signatures.
type receiver struct {
	verify func(body []byte, h http.Header) error
	got    chan Received

	mu   sync.Mutex
	seen map[string]bool // by message id
}

// newReceiver makes a receiver. The secret is `whsec_` and Base64, or else the bytes as they stand; with an empty one
// signatures are not looked at.
func newReceiver(secret string) (*receiver, error) {
	r := &receiver{got: make(chan Received, 10_000), seen: map[string]bool{}}
	switch {
	case secret == "":
		r.verify = func([]byte, http.Header) error { return nil }
		return r, nil
	case !strings.HasPrefix(secret, "whsec_"):
		wh, err := standardwebhooks.NewWebhookRaw([]byte(secret))
		if err != nil {
			return nil, err
		}
		r.verify = wh.Verify
	default:
		wh, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, fmt.Errorf("what follows whsec_ in the webhook secret is not Base64: %w", err)
		}
		r.verify = wh.Verify
	}
	return r, nil
}

// file notes whether the message came before.
func (r *receiver) file(got *Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	got.Again = got.MessageID != "" && r.seen[got.MessageID]
	r.seen[got.MessageID] = true
}

// serve takes webhooks on the listener, by the handler, until ctx ends.
func serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeHTTP takes every webhook, also one that is wrong: it is told of, not sent again.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	got := Received{At: at, MessageID: req.Header.Get(standardwebhooks.HeaderWebhookID)}
	if err := json.Unmarshal(body, &got.Message); err != nil {
		got.Fault = "the body is no message: " + err.Error()
	} else if err := r.verify(body, req.Header); err != nil {
		got.Fault = "the signature is wrong: " + err.Error()
	}
	r.file(&got)
	select {
	case r.got <- got:
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Error(w, "too many at once", http.StatusServiceUnavailable)
	}
}
