package manager_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// fake is an instance that remembers.
type fake struct {
	p       *process
	org     tenant.OrgID
	owner   bool
	started time.Time

	mu      sync.Mutex
	version int64
	conf    string
	stopped bool
	stuck   bool // Busy
	badConf bool // Apply refuses
	badUp   bool // Update refuses
	applies int
}

func (f *fake) Update(_ context.Context, s alert.State) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.badUp {
		return errBroken
	}
	if f.stopped {
		f.p.t.Error("updated after its end")
	}
	f.version = s.Version
	return nil
}

func (f *fake) Apply(c *config.Config) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.badConf {
		return errBroken
	}
	f.conf = c.Source.YAML
	f.applies++
	return nil
}

// Handler says what it is asked and at which version; a POST raises that.
func (f *fake) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
			f.p.table.change(f.org, nil)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		_, _ = fmt.Fprintf(w, "%s owner=%t version=%d", r.URL.Path, f.owner, f.version)
	})
}

func (f *fake) Busy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stuck
}

func (f *fake) applied() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.applies
}

func (f *fake) Stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		f.p.t.Error("stopped twice")
	}
	f.stopped = true
}

func (f *fake) now() (version int64, conf string, stopped bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.version, f.conf, f.stopped
}

func (f *fake) isStopped() bool {
	_, _, stopped := f.now()
	return stopped
}
