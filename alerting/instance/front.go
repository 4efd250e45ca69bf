package instance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	apiv2 "github.com/prometheus/alertmanager/api/v2"
	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/prometheus/alertmanager/cluster"
	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/dispatch"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/alerting/config"
)

const (
	apiPrefix   = "/api/v2/"
	maxBody     = 4 << 20
	maxReads    = 3 // at a time: each may write out all alerts, tens of megabytes, several times over
	readWait    = 5 * time.Second
	saveRequest = 5 * time.Second
)

// front is the HTTP side of an instance: Alertmanager's API v2, with what it changes saved before it answers. The API is made at the
// first request: most instances never have one, and it is the largest part.
type front struct {
	i     *Instance
	reads chan struct{}

	mu  sync.Mutex
	api *apiv2.API // nil: nobody asked yet

	// writing is held while silences change, so that what is broadcast is known to belong to a request.
	writing   sync.Mutex
	capturing bool
	captured  [][]byte
	weights   map[string]int // of silences, by id
}

func newFront(i *Instance) *front {
	f := &front{i: i, reads: make(chan struct{}, maxReads), weights: map[string]int{}}
	i.silences.SetBroadcast(func(body []byte) {
		if f.capturing {
			f.captured = append(f.captured, body)
		}
	})
	return f
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/-/healthy" || r.URL.Path == "/-/ready":
		f.ready(w)
	case strings.HasPrefix(r.URL.Path, apiPrefix):
		f.serveAPI(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (f *front) ready(w http.ResponseWriter) {
	select {
	case <-f.i.quit:
		http.Error(w, "stopped", http.StatusServiceUnavailable)
	default:
		_, _ = io.WriteString(w, "OK")
	}
}

func (f *front) serveAPI(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > maxBody {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
		return
	}
	h, err := f.handler()
	if err != nil {
		f.i.o.Logger.Error("the API could not be made", "err", err)
		refuse(w, http.StatusInternalServerError, "the API could not be made")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	switch {
	case r.Method == http.MethodGet:
		if !f.mayRead(r.Context()) {
			refuse(w, http.StatusServiceUnavailable, "too many requests at a time, try again")
			return
		}
		defer func() { <-f.reads }()
		if r.URL.Path == apiPrefix+"status" {
			h = withVersion(h)
		}
		h.ServeHTTP(w, r)
	case r.Method == http.MethodPost && r.URL.Path == apiPrefix+"silences",
		r.Method == http.MethodDelete && strings.HasPrefix(r.URL.Path, apiPrefix+"silence/"):
		f.changeSilences(h, w, r)
	default:
		h.ServeHTTP(w, r)
	}
}

// mayRead waits for a turn, for readWait at most.
func (f *front) mayRead(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, readWait)
	defer cancel()
	select {
	case f.reads <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuse answers as Alertmanager does: with a string in JSON.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(text)
}

// handler returns the API's handler, making it when it is the first to ask.
func (f *front) handler() (http.Handler, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.api != nil {
		return f.api.Handler, nil
	}
	i := f.i
	api, err := apiv2.NewAPI(&posted{Alerts: i.alerts, i: i}, f.groups, i.groups.Muted, i.silences, alone{}, quiet(i.o.Logger), nowhere{})
	if err != nil {
		return nil, err
	}
	api.Update(shownConfig(i.graph.Load().config), f.status)
	f.api = api
	return api.Handler, nil
}

// withVersion has a status name the version of Alertmanager whose parts these are: the parts look for it in variables that only
// Alertmanager's own build sets, and amtool warns of a server without one.
func withVersion(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held := &answer{header: http.Header{}, status: http.StatusOK}
		h.ServeHTTP(held, r)
		var status models.AlertmanagerStatus
		if version := alertmanagerVersion(); version != "" && held.status == http.StatusOK && json.Unmarshal(held.body.Bytes(), &status) == nil && status.VersionInfo != nil {
			status.VersionInfo.Version = &version
			if body, err := json.Marshal(status); err == nil {
				held.body.Reset()
				held.body.Write(append(body, '\n'))
			}
		}
		held.send(w)
	})
}

// alertmanagerVersion returns the version of the module as this program was built with it, without the v; empty where it is not known.
func alertmanagerVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/prometheus/alertmanager" {
			return strings.TrimPrefix(m.Version, "v")
		}
	}
	return ""
}

// update has the API show another configuration.
func (f *front) update(c *config.Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.api != nil {
		f.api.Update(shownConfig(c), f.status)
	}
}

// status finds out what mutes an alert, for the marker in the context.
func (f *front) status(ctx context.Context, labels model.LabelSet) {
	i := f.i
	i.graph.Load().inhibitor.Mutes(ctx, labels)
	i.silencer.Mutes(ctx, labels)
	if len(i.o.Muters) == 0 {
		return
	}
	if a, err := i.alerts.Get(labels.Fingerprint()); err == nil {
		mutes(i.o.Muters).mark(ctx, a)
	}
}

// groups returns the dispatcher's groups with alerts as they are to be shown.
func (f *front) groups(ctx context.Context, routes func(*dispatch.Route) bool, alerts func(*amalert.Alert, time.Time) bool) (dispatch.AlertGroups, map[model.Fingerprint][]string, error) {
	g := f.i.graph.Load()
	groups, receivers, err := g.dispatcher.Groups(ctx, routes, alerts)
	now, timeout := time.Now(), resolveTimeout(g.config)
	for _, group := range groups {
		for n, a := range group.Alerts {
			group.Alerts[n] = shown(a, now, timeout)
		}
	}
	return groups, receivers, err
}

// shownConfig returns what the API shows of a configuration: as it was written.
func shownConfig(c *config.Config) *amconfig.Config {
	if c.Shown != nil {
		return c.Shown
	}
	return c.Alertmanager
}

func resolveTimeout(c *config.Config) time.Duration {
	if c.Alertmanager.Global == nil {
		return time.Duration(amconfig.DefaultGlobalConfig().ResolveTimeout)
	}
	return time.Duration(c.Alertmanager.Global.ResolveTimeout)
}

// alone is a cluster of one: what clients that wait for a cluster to be ready want to see.
type alone struct{}

// Name implements cluster.ClusterPeer and cluster.ClusterMember.
func (alone) Name() string { return "tokiflow" }

// Address implements cluster.ClusterMember.
func (alone) Address() string { return "" }

// Status implements cluster.ClusterPeer.
func (alone) Status() string { return "ready" }

// Peers implements cluster.ClusterPeer.
func (a alone) Peers() []cluster.ClusterMember { return []cluster.ClusterMember{a} }
