package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// gate is the server's handler. Until it is opened it answers health checks, and everything else with 503: a client that
// comes too early is told to try again rather than turned away.
type gate struct {
	inner   atomic.Pointer[opened]
	metrics http.Handler
}

type opened struct {
	handler http.Handler
	ready   func(context.Context) []error
	detail  func() string // what a ready process has to say; empty: nothing
}

func newGate(r *prometheus.Registry) *gate {
	return &gate{metrics: promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r})}
}

func (g *gate) open(o opened) {
	g.inner.Store(&o)
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	in := g.inner.Load()
	switch r.URL.Path {
	case "/healthz":
		text(w, http.StatusOK, "ok\n")
	case "/readyz":
		g.readyz(w, r, in)
	case "/metrics":
		g.metrics.ServeHTTP(w, r)
	default:
		if in == nil {
			w.Header().Set("Retry-After", "1")
			text(w, http.StatusServiceUnavailable, "try again")
			return
		}
		in.handler.ServeHTTP(w, r)
	}
}

func (g *gate) readyz(w http.ResponseWriter, r *http.Request, in *opened) {
	errs := []error{errors.New("starting")}
	if in != nil {
		errs = in.ready(r.Context())
	}
	if err := errors.Join(errs...); err != nil {
		w.Header().Set("Retry-After", "1")
		text(w, http.StatusServiceUnavailable, "not ready\n"+err.Error()+"\n")
		return
	}
	body := "ready\n"
	if detail := in.detail(); detail != "" {
		body += detail + "\n"
	}
	text(w, http.StatusOK, body)
}

func text(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func newRouter() chi.Router {
	r := chi.NewRouter()
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusNotFound, "not found") })
	return r
}

// Timeouts of a request. A body of 10 MiB over a slow line must fit into readTimeout.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 60 * time.Second
	writeTimeout  = 120 * time.Second
	idleTimeout   = 120 * time.Second
)

func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// serve answers from now on; what is behind the gate comes later. It is the first to be born and so the last to be stopped,
// but takes no new requests as soon as the stop begins: see drain.
func (a *App) serve() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			a.fail(fmt.Errorf("HTTP server: %w", err))
		}
	}()
	a.onStop("HTTP server", func(context.Context) error {
		err := a.server.Close()
		<-done
		return err
	})
}

// startUpkeep begins what keeps the house in order and, last of all and so first to be stopped, the draining of requests.
func (a *App) startUpkeep() {
	if a.o.consumes() {
		a.background("upkeep", a.upkeep)
	}
	a.onStop("requests under way", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if a.appender != nil {
			a.appender.Leave() // who comes now finds nobody: that is a gap
		}
		if err := a.server.Shutdown(ctx); err != nil {
			a.log.Warn("requests cut off", "error", err)
		}
		return nil
	})
}

// reachable is the address as a client on this machine would write it.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		if !strings.Contains(s, "/") {
			ip, err := netip.ParseAddr(s)
			if err != nil {
				return nil, fmt.Errorf("--trusted-proxy %q: give an address or a network, as 10.0.0.0/8", s)
			}
			out = append(out, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxy %q: give an address or a network, as 10.0.0.0/8", s)
		}
		out = append(out, p)
	}
	return out, nil
}
