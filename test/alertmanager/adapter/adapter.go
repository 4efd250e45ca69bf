// Adapter is a program that takes Alertmanager's flags, runs one organisation's alerting over PostgreSQL, and serves its API at the
// root and without a key: what Alertmanager's own acceptance tests drive (test/alertmanager).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/manager"
)

// houseVariable says where the test process is, of which an adapter gets its database.
const houseVariable = "TOKIFLOW_ADAPTER_HOUSE"

// adapterKey is the key of the organisation whose alerting the adapter serves: it adds it to every request.
const adapterKey = "adapter-key-0123456789abcdef-0123456789"

// flags are those of Alertmanager that its tests give. What Tokiflow has no use for is taken and forgotten.
type flags struct {
	config, listen, prefix, peer, features string
}

func parseFlags(args []string) (flags, error) {
	var f flags
	set := flag.NewFlagSet("alertmanager", flag.ContinueOnError)
	set.StringVar(&f.config, "config.file", "", "configuration")
	set.StringVar(&f.listen, "web.listen-address", "127.0.0.1:0", "where to listen")
	set.StringVar(&f.prefix, "web.route-prefix", "", "before every path")
	set.StringVar(&f.peer, "cluster.peer", "", "another member of the cluster: the one whose database to use")
	set.StringVar(&f.features, "enable-feature", "", "classic-mode: names and matchers in the older form only")
	for _, unused := range []string{
		"log.level", "storage.path", "web.config.file", "cluster.listen-address", "cluster.settle-timeout", "dispatch.start-delay",
	} {
		set.String(unused, "", "not used")
	}
	return f, set.Parse(args)
}

// adapter is one process of Tokiflow's alerting in the clothes of an Alertmanager.
type adapter struct {
	flags   flags
	house   house
	addr    string
	manager *manager.Manager
	api     http.Handler
	reload  func(ctx context.Context) error
	ready   chan struct{} // closed when the API can be asked; requests wait for it
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "adapter:", err)
		os.Exit(1)
	}
}

// run serves until SIGTERM and reads the configuration again at SIGHUP.
func run(args []string) error {
	f, err := parseFlags(args)
	if err != nil {
		return err
	}
	if f.features != "classic-mode" {
		config.UTF8() // as app does
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return err
	}
	a := &adapter{flags: f, house: house(os.Getenv(houseVariable)), addr: listener.Addr().String(), ready: make(chan struct{})}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	server := &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("serving ended", "error", err)
		}
	})
	defer func() { _ = server.Close() }()
	logger.Info("Listening on", "address", a.addr)
	database, err := a.house.join(ctx, a.addr, f.peer)
	if err != nil {
		return err
	}
	shut, err := a.wire(ctx, database, logger)
	if err != nil {
		return err
	}
	defer shut()
	managed := make(chan struct{})
	go func() {
		_ = a.manager.Run(ctx) // it ends without an error
		close(managed)
	}()
	defer func() {
		stop()
		<-managed
	}()
	if err := a.warm(ctx); err != nil {
		return err
	}
	close(a.ready)
	for {
		select {
		case <-hup:
			if err := a.reload(ctx); err != nil {
				logger.Error("the configuration is not taken", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// warm has the organisation's alerting started before anybody is answered.
func (a *adapter) warm(ctx context.Context) error {
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, manager.Prefix+"/api/v2/status", nil)
	answer := a.ask(req)
	if answer.Code != http.StatusOK {
		return fmt.Errorf("alerting does not start: %d %s", answer.Code, answer.Body)
	}
	return nil
}

func (a *adapter) ask(r *http.Request) *httptest.ResponseRecorder {
	r.Header.Set("Authorization", "Bearer "+adapterKey)
	answer := httptest.NewRecorder()
	a.api.ServeHTTP(answer, r)
	return answer
}

// ServeHTTP hands on a request to the organisation's Alertmanager, with the key. In the status it names the members of the cluster:
// the processes that work on the same database.
func (a *adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-a.ready:
	case <-r.Context().Done():
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, a.flags.prefix)
	if !ok {
		http.NotFound(w, r)
		return
	}
	inner := r.Clone(r.Context())
	inner.URL = &url.URL{Path: manager.Prefix + path, RawQuery: r.URL.RawQuery}
	answer := a.ask(inner)
	body := answer.Body.Bytes()
	if path == "/api/v2/status" && answer.Code == http.StatusOK {
		var err error
		if body, err = a.withMembers(r.Context(), body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	for name, values := range answer.Header() {
		if name != "Content-Length" {
			w.Header()[name] = values
		}
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

// routes mounts what serves the API.
func routes(m *manager.Manager) http.Handler {
	r := chi.NewRouter()
	m.Routes(r)
	return r
}
