package feed_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/alerting/feed"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outbox counts what is asked of it.
type outbox struct {
	mu         sync.Mutex
	waiting    int
	unreadable []alert.Unreadable
	oldest     time.Time
	expired    int
	err        error
	feeds      int
	prunes     int
	bases      map[string]bool
	wake       func()
}

func (o *outbox) FeedAlerts(_ context.Context, limit int, baseURL string) (alert.Fed, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.feeds++
	o.bases[baseURL] = true
	n := min(limit, o.waiting)
	if o.err != nil {
		return alert.Fed{}, o.err
	}
	o.waiting -= n
	fed := alert.Fed{Rows: n, Unreadable: o.unreadable}
	o.unreadable = nil
	return fed, nil
}

func (o *outbox) OldestUnfed(context.Context) (time.Time, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.oldest, o.err
}

func (o *outbox) PruneAlerting(_ context.Context, now time.Time, limit int) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !now.Equal(time.Now()) {
		return 0, errors.New("another time")
	}
	o.prunes++
	n := min(limit, o.expired)
	o.expired -= n
	return n, o.err
}

func (o *outbox) listen(ctx context.Context, wake func()) error {
	o.mu.Lock()
	o.wake = wake
	err := o.err
	o.mu.Unlock()
	if err != nil {
		return err
	}
	wake()
	<-ctx.Done()
	return ctx.Err()
}

func (o *outbox) add(n int) {
	o.mu.Lock()
	o.waiting += n
	wake := o.wake
	o.mu.Unlock()
	if wake != nil {
		wake()
	}
}

func (o *outbox) counts() (waiting, feeds, prunes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting, o.feeds, o.prunes
}

// run runs a feeder until the bubble's test ends.
func run(t *testing.T, o *outbox, edit func(*feed.Options)) (*prometheus.Registry, *bytes.Buffer) {
	t.Helper()
	o.bases = map[string]bool{}
	var said bytes.Buffer
	registry := prometheus.NewRegistry()
	options := feed.Options{Store: o, Listen: o.listen, BaseURL: "https://x", Logger: slog.New(slog.NewTextHandler(&said, nil)), Registerer: registry}
	if edit != nil {
		edit(&options)
	}
	f, err := feed.New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return registry, &said
}

func wantMetrics(t *testing.T, r *prometheus.Registry, want string) {
	t.Helper()
	var names []string
	for l := range strings.Lines(want) {
		name, _, _ := strings.Cut(l, " ")
		names = append(names, name)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	help := map[string]string{}
	for _, f := range families {
		help[f.GetName()] = "# HELP " + f.GetName() + " " + f.GetHelp() + "\n# TYPE " + f.GetName() + " " + strings.ToLower(f.GetType().String()) + "\n"
	}
	var text strings.Builder
	for l := range strings.Lines(want) {
		name, _, _ := strings.Cut(l, " ")
		text.WriteString(help[name] + l)
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(text.String()), names...); err != nil {
		t.Error(err)
	}
}

func TestWhatIsWrittenIsFedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{}
		r, _ := run(t, o, nil)
		o.add(1700) // several batches, without a pause
		synctest.Wait()
		if waiting, _, _ := o.counts(); waiting != 0 {
			t.Errorf("%d wait", waiting)
		}
		o.mu.Lock()
		if len(o.bases) != 1 || !o.bases["https://x"] {
			t.Errorf("fed with %v", o.bases)
		}
		o.mu.Unlock()
		o.mu.Lock()
		o.oldest = time.Now().Add(-time.Minute)
		o.mu.Unlock()
		time.Sleep(16 * time.Second)
		wantMetrics(t, r, "tokiflow_alerting_fed_total 1700\ntokiflow_alerting_oldest_unfed_seconds 75\ntokiflow_alerting_unreadable_total 0\n")
		o.mu.Lock()
		o.oldest = time.Time{}
		o.mu.Unlock()
		time.Sleep(15 * time.Second)
		wantMetrics(t, r, "tokiflow_alerting_oldest_unfed_seconds 0\n")
		if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	})
}

func TestWithoutNoticesTheOutboxIsPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{}
		run(t, o, func(o *feed.Options) { o.Listen = nil })
		o.add(1)
		time.Sleep(1100 * time.Millisecond)
		if waiting, feeds, _ := o.counts(); waiting != 0 || feeds > 3 {
			t.Errorf("%d wait after %d looks", waiting, feeds)
		}
	})
}

func TestTheDatabaseIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{err: errors.New("down"), waiting: 7}
		_, said := run(t, o, nil)
		time.Sleep(time.Minute)
		if _, feeds, _ := o.counts(); feeds < 10 || feeds > 40 {
			t.Errorf("%d tries in a minute", feeds)
		}
		o.mu.Lock()
		o.err = nil
		o.mu.Unlock()
		time.Sleep(10 * time.Second)
		if waiting, _, _ := o.counts(); waiting != 0 {
			t.Errorf("%d wait", waiting)
		}
		o.add(1)
		synctest.Wait()
		if waiting, _, _ := o.counts(); waiting != 0 {
			t.Error("it does not listen again")
		}
		if n := strings.Count(said.String(), "cannot be read from the outbox"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestWhatCannotBeReadIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{waiting: 2, unreadable: []alert.Unreadable{{Outbox: 7, Org: tenant.OrgID{}, Type: "odd", Err: errors.New("why")}}}
		r, said := run(t, o, nil)
		wantMetrics(t, r, "tokiflow_alerting_fed_total 2\ntokiflow_alerting_unreadable_total 1\n")
		if !strings.Contains(said.String(), "level=ERROR") || !strings.Contains(said.String(), "outbox=7") || !strings.Contains(said.String(), "error=why") {
			t.Error(said.String())
		}
	})
}

func TestWhatHasExpiredIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outbox{expired: 2500}
		run(t, o, nil)
		if _, _, prunes := o.counts(); prunes != 3 {
			t.Errorf("%d times", prunes)
		}
		time.Sleep(61 * time.Minute)
		if _, _, prunes := o.counts(); prunes != 4 {
			t.Errorf("%d times", prunes)
		}
		o.mu.Lock()
		o.err = errors.New("down")
		o.mu.Unlock()
		time.Sleep(time.Hour)
		if _, _, prunes := o.counts(); prunes != 5 {
			t.Errorf("%d times", prunes)
		}
	})
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	r := prometheus.NewRegistry()
	good := feed.Options{Store: &outbox{}, Logger: slog.New(slog.DiscardHandler), Registerer: r}
	if _, err := feed.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*feed.Options){
		"no store": func(o *feed.Options) { o.Store = nil }, "no logger": func(o *feed.Options) { o.Logger = nil },
		"a negative": func(o *feed.Options) { o.Batch = -1 }, "metrics twice": func(*feed.Options) {},
	} {
		o := good
		if spoil(&o); name != "metrics twice" {
			o.Registerer = nil
		}
		if _, err := feed.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
