package loadgen

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
)

// Baseline serves what a ping endpoint costs at least: a bare chi router with the ping routes, whose handler answers 200
// and stores nothing. It serves until ctx ends.
func Baseline(ctx context.Context, l net.Listener) error {
	r := chi.NewRouter()
	ok := func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		_, _ = io.WriteString(w, "OK")
	}
	r.HandleFunc("/ping/{key}", ok)
	r.HandleFunc("/ping/{key}/{slug}", ok)
	s := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
