package ingest

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

func TestAChangeTakesEffectWithinASecond(t *testing.T) {
	b := start(t, nil)
	main := mainTarget()
	url := func(key string) string { return "/ping/" + key }
	b.get(url(mainKey)).want(t, 200, "OK")

	rekeyed := main
	rekeyed.Key = uuid.MustParse(noKey)
	begun := time.Now()
	b.src.set(rekeyed)
	b.get(url(noKey)).want(t, 200, "OK")
	b.get(url(mainKey)).want(t, 404, "not found")
	b.get("/ping/"+projKey+"/main-job").want(t, 200, "OK")

	renamed := rekeyed
	renamed.Slug = "renamed"
	b.src.set(renamed)
	b.get("/ping/"+projKey+"/renamed").want(t, 200, "OK")
	b.get("/ping/"+projKey+"/main-job").want(t, 404, "not found")

	renamed.Slug = ""
	b.src.set(renamed)
	b.get("/ping/"+projKey+"/renamed").want(t, 404, "not found")
	b.get(url(noKey)).want(t, 200, "OK")

	b.src.remove(main.Monitor)
	b.get(url(noKey)).want(t, 404, "not found")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	b.src.remove(main.Monitor) // twice is nothing
	b.src.set(main)
	b.get(url(mainKey)).want(t, 200, "OK")
}

func TestATwinThatGoesEndsTheAmbiguity(t *testing.T) {
	b := start(t, nil)
	b.get("/ping/"+projKey+"/twin").want(t, 409, "ambiguous slug")
	twins := b.ingest.cache.bySlug(projA().UUID, "twin")
	b.src.remove(twins[0].Monitor)
	b.get("/ping/"+projKey+"/twin").want(t, 200, "OK")
	b.src.remove(twins[1].Monitor)
	b.get("/ping/"+projKey+"/twin").want(t, 404, "not found")
	b.src.set(targetOf(orgA(), projA(), noKey, "main-job"))
	b.get("/ping/"+projKey+"/main-job").want(t, 409, "ambiguous slug")
}

// TestNothingIsDeniedWhileItMayExist: without its source, ingest does not know whether an unknown monitor exists.
func TestNothingIsDeniedWhileItMayExist(t *testing.T) {
	b := start(t, nil)
	unknown := []string{
		"/ping/" + noKey, "/ping/" + noKey + "/start", "/api/ping/" + noKey, "/ping/" + projKey + "/unknown", "/ping/nobody/x", "/ping/nobody/x?create=1",
	}
	b.src.lose(errDown)
	b.until("the loss is noticed", func() bool { return !b.ingest.cache.connected() })
	for _, path := range unknown {
		b.get(path).want(t, 404, "not found") // as long as a change may take anyway
	}
	b.clock.advance(trustFor)
	for _, path := range unknown {
		got := b.get(path)
		got.want(t, 503, "try again")
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
	b.get("/ping/"+mainKey).want(t, 200, "OK")
	b.get("/ping/"+projKey+"/main-job").want(t, 200, "OK")
	b.get("/ping/"+projKey+"/twin").want(t, 409, "ambiguous slug")
	b.get("/ping/"+projKey+"/Upper").want(t, 400, "invalid url format")
	b.get("/ping/not-a-uuid").want(t, 404, "not found") // cannot exist
	if err := b.ingest.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}

	// What happened meanwhile is known when the source is back.
	b.src.set(targetOf(orgA(), projA(), noKey, "unknown"))
	b.src.lose(nil)
	b.until("the source is back", b.ingest.cache.connected)
	b.get("/ping/"+noKey).want(t, 200, "OK")
	b.get("/ping/nobody/x").want(t, 404, "not found")
}

func TestBeforeTheFirstLoad(t *testing.T) {
	src := newSource()
	src.lose(errDown)
	b := start(t, func(o *Options) { o.Targets = src })
	if b.ingest.Ready() == nil {
		t.Error("ready before the monitors are loaded")
	}
	b.get("/ping/"+mainKey).want(t, 503, "try again")
	b.get("/ping/"+projKey+"/main-job?create=1").want(t, 503, "try again")
	src.lose(nil)
	b.until("the monitors are loaded", func() bool { return b.ingest.Ready() == nil })
	b.get("/ping/"+mainKey).want(t, 200, "OK")
}

// watchFunc is a Targets made of a function.
type watchFunc func(context.Context, func(tenant.PingTargets)) error

func (f watchFunc) WatchTargets(ctx context.Context, apply func(tenant.PingTargets)) error {
	return f(ctx, apply)
}

// TestRunBacksOff counts attempts on a source that is down for an hour, and then drops every connection at once.
func TestRunBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		var works atomic.Bool
		g, err := New(Options{
			Appender: new(appender), Partitions: 1, Creator: new(creator), Authenticator: new(authority),
			Targets: watchFunc(func(_ context.Context, apply func(tenant.PingTargets)) error {
				attempts.Add(1)
				if works.Load() {
					apply(tenant.PingTargets{Full: true})
				}
				return nil // without an error: must not spin either
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- g.Run(ctx) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := attempts.Load(); n < 3600/8 || n > 3600/2 {
			t.Errorf("%d attempts in an hour", n)
		}
		works.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if g.Ready() != nil || g.cache.connected() {
			t.Errorf("ready: %v, connected: %v", g.Ready(), g.cache.connected())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestAMonitorMadeAndDeletedDoesNotComeBack: the source's word on a monitor may overtake the ping that made it.
func TestAMonitorMadeAndDeletedDoesNotComeBack(t *testing.T) {
	c := newCache(4)
	c.apply(tenant.PingTargets{Full: true})
	m := mainTarget()
	c.apply(tenant.PingTargets{Monitor: m.Monitor, Targets: []tenant.PingTarget{m}})
	c.apply(tenant.PingTargets{Monitor: m.Monitor})
	if made := c.add(m); made == nil || made.Monitor != m.Monitor {
		t.Errorf("the ping that made it has no target: %v", made)
	}
	if c.byKey(m.Key) != nil {
		t.Error("a deleted monitor came back")
	}
	changed := m
	changed.Slug = "changed"
	c.apply(tenant.PingTargets{Monitor: m.Monitor, Targets: []tenant.PingTarget{changed}})
	if got := c.add(m); got.Slug != "changed" {
		t.Errorf("what the source said was overwritten: %v", got.Slug)
	}
	for i := range 3 * remembered {
		c.apply(tenant.PingTargets{Monitor: uuid.NewSHA1(uuid.NameSpaceOID, binary.BigEndian.AppendUint32(nil, uint32(i)))})
	}
	if len(c.deleted) != remembered {
		t.Errorf("%d deleted monitors are remembered", len(c.deleted))
	}
}

// fleet makes n monitors in one project; some share slugs, some have none.
func fleet(n int) tenant.PingTargets {
	random := rand.New(rand.NewPCG(1, 2))
	id := func() (u uuid.UUID) {
		binary.BigEndian.PutUint64(u[:], random.Uint64())
		binary.BigEndian.PutUint64(u[8:], random.Uint64())
		return u
	}
	full := tenant.PingTargets{Full: true, Projects: []tenant.ProjectKey{{Org: orgA(), Project: projA(), Key: projKey}}}
	for i := range n {
		t := tenant.PingTarget{Org: orgA(), Project: projA(), Monitor: id(), Key: id()}
		if i%10 > 0 {
			t.Slug = fmt.Sprintf("job-%d", i/2)
		}
		full.Targets = append(full.Targets, t)
	}
	return full
}

// model is the cache as simply as it can be.
type model map[uuid.UUID]tenant.PingTarget

func (m model) check(t *testing.T, c *cache) {
	t.Helper()
	slugs := map[string]int{}
	for _, want := range m {
		got := c.byKey(want.Key)
		if got == nil || got.PingTarget != want {
			t.Fatalf("by key: %v, want %v", got, want)
		}
		if want.Slug != "" {
			slugs[want.Slug]++
		}
	}
	for slug, n := range slugs {
		for _, owner := range []uuid.UUID{projA().UUID, orgA().UUID} {
			if got := c.bySlug(owner, slug); len(got) != n {
				t.Fatalf("slug %s: %d monitors, want %d", slug, len(got), n)
			}
		}
	}
	if c.size() != len(m) {
		t.Fatalf("size %d, want %d", c.size(), len(m))
	}
	entries := 0
	for i := range c.current.Load().bySlug.parts {
		if p := c.current.Load().bySlug.parts[i].Load(); p != nil {
			entries += len(*p)
		}
	}
	if entries != 2*len(slugs) {
		t.Fatalf("%d slug entries for %d slugs: some are left over", entries, len(slugs))
	}
}

// TestCacheOf100kMonitors changes a large fleet at random, against a model, while others read.
func TestCacheOf100kMonitors(t *testing.T) {
	const n = 100_000
	full := fleet(n)
	c := newCache(16)
	c.apply(full)
	m := model{}
	for _, p := range full.Targets {
		m[p.Monitor] = p
	}
	m.check(t, c)

	// Readers look up monitors that never change: they must be there at every moment.
	var stop atomic.Bool
	var wg sync.WaitGroup
	steady := slices.Clone(full.Targets[:1000])
	for range 2 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				runtime.Gosched()
				p := steady[i%len(steady)]
				if c.byKey(p.Key) == nil {
					t.Error("a monitor was missing for a moment")
					return
				}
				if p.Slug != "" && len(c.bySlug(p.Project.UUID, p.Slug)) == 0 {
					t.Error("a slug was missing for a moment")
					return
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(3, 4))
	changes := full.Targets[1000:]
	begun := time.Now()
	const rounds = 5_000
	for range rounds {
		p := changes[random.IntN(len(changes))]
		switch random.IntN(4) {
		case 0:
			c.apply(tenant.PingTargets{Monitor: p.Monitor})
			delete(m, p.Monitor)
			continue
		case 1:
			p.Key = uuid.New()
		case 2:
			p.Slug = fmt.Sprintf("job-%d", 500+random.IntN(n/2))
		}
		c.apply(tenant.PingTargets{Monitor: p.Monitor, Targets: []tenant.PingTarget{p}})
		m[p.Monitor] = p
	}
	t.Logf("a change of one among %d monitors takes %v", n, time.Since(begun)/rounds)
	m.check(t, c)

	full.Targets = full.Targets[:0]
	for _, p := range m {
		full.Targets = append(full.Targets, p)
	}
	limit := c.byKey(steady[0].Key).limit
	c.apply(full)
	stop.Store(true)
	wg.Wait()
	m.check(t, c)
	if c.byKey(steady[0].Key).limit != limit {
		t.Error("a reload forgot the rate limits")
	}
	if allocs := testing.AllocsPerRun(100, func() { c.byKey(steady[1].Key); c.bySlug(projA().UUID, "job-600") }); allocs > 0 {
		t.Errorf("a look-up allocates %v times", allocs)
	}
}
