package ingest

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/record"
)

func TestCreate(t *testing.T) {
	b := start(t, nil)
	path := "/ping/" + projKey + "/fresh"
	b.get(path).want(t, 404, "not found")
	b.do(http.MethodPost, path+"/start?create=1&rid="+runID, strings.NewReader("hello")).want(t, 201, "Created")
	p := b.log.last(t, 1)
	if p.Org != orgA() || p.Kind != record.Start || p.RID.String() != runID || string(p.Body) != "hello" {
		t.Errorf("stored %+v", p)
	}
	b.get(path+"?create=1").want(t, 200, "OK")
	b.get(path).want(t, 200, "OK")
	if p2 := b.log.last(t, 3); p2.Monitor != p.Monitor {
		t.Errorf("pings of two monitors: %v and %v", p.Monitor, p2.Monitor)
	}
	b.do(http.MethodHead, "/ping/"+projKey+"/another/7?create=1", nil).want(t, 201, "")
}

// TestCreatedIsKnownAtOnce: whoever was told Created may ping at once, though the source has not said so yet.
func TestCreatedIsKnownAtOnce(t *testing.T) {
	b := start(t, nil)
	b.creator.quiet = true
	path := "/ping/" + projKey + "/fresh"
	b.get(path+"?create=1").want(t, 201, "Created")
	b.get(path).want(t, 200, "OK")
	b.get("/ping/"+b.ingest.cache.bySlug(projA().UUID, "fresh")[0].Key.String()).want(t, 200, "OK")
}

// TestConcurrentCreatesMakeOneMonitor: one is answered Created, all are recorded.
func TestConcurrentCreatesMakeOneMonitor(t *testing.T) {
	b := start(t, nil)
	b.creator.gate = make(chan struct{})
	const n = 20
	statuses := make([]int, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { statuses[i] = b.get("/ping/" + projKey + "/fresh?create=1").status })
	}
	b.until("one asks for the monitor", func() bool {
		b.creator.mu.Lock()
		defer b.creator.mu.Unlock()
		return b.creator.calls > 0
	})
	close(b.creator.gate)
	wg.Wait()
	count := map[int]int{}
	for _, s := range statuses {
		count[s]++
	}
	if count[201] != 1 || count[200] != n-1 || b.creator.made != 1 {
		t.Errorf("answers %v, %d monitors were made", count, b.creator.made)
	}
	monitors := map[any]bool{}
	for _, p := range b.log.all() {
		monitors[p.Monitor] = true
	}
	if len(b.log.all()) != n || len(monitors) != 1 {
		t.Errorf("%d pings of %d monitors are stored", len(b.log.all()), len(monitors))
	}
}

// TestTheFirstToAskMayGoAway: the others still get their monitor.
func TestTheFirstToAskMayGoAway(t *testing.T) {
	b := start(t, nil)
	b.creator.gate = make(chan struct{})
	conn := dial(t, b.url)
	if _, err := conn.Write([]byte("GET /ping/" + projKey + "/fresh?create=1 HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	b.until("the first asks", func() bool {
		b.creator.mu.Lock()
		defer b.creator.mu.Unlock()
		return b.creator.calls > 0
	})
	second := make(chan reply)
	go func() { second <- b.get("/ping/" + projKey + "/fresh?create=1") }()
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	close(b.creator.gate)
	if got := <-second; got.status != 200 {
		t.Errorf("the second: %d %q", got.status, got.body)
	}
}

func TestCreateIsRefused(t *testing.T) {
	b := start(t, nil)
	path := "/ping/" + projKey + "/fresh?create=1"
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{ErrLimit, 404, "not found"},
		{errors.Join(errors.New("creating"), ErrLimit), 404, "not found"},
		{fault.New(fault.NotFound, "the project is gone"), 404, "not found"},
		{fault.New(fault.Ambiguous, "two have it"), 409, "ambiguous slug"},
		{errors.New("the database is down"), 503, "try again"},
	} {
		b.creator.err = c.err
		got := b.get(path)
		got.want(t, c.status, c.body)
		if (got.header.Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("%v: Retry-After %q", c.err, got.header.Get("Retry-After"))
		}
	}
	if n := len(b.log.all()); n != 0 {
		t.Errorf("%d pings are stored", n)
	}
	b.creator.err = nil
	b.do(http.MethodPost, path, &endless{left: maxBody + 1}).want(t, 413, "body too large")
	if b.creator.made != 0 {
		t.Error("a ping that was refused made a monitor")
	}
	// The monitor is made, but the ping is not recorded: nothing is promised, and the next one says OK.
	b.log.setFail(errDown)
	b.get(path).want(t, 503, "try again")
	b.log.setFail(nil)
	b.get(path).want(t, 200, "OK")
}

// TestCreateWhileTheSourceIsAway: a slug that is not known may be there; the creator knows.
func TestCreateWhileTheSourceIsAway(t *testing.T) {
	b := start(t, nil)
	b.src.lose(errDown)
	b.until("the loss is noticed", func() bool { return !b.ingest.cache.connected() })
	b.clock.advance(trustFor)
	b.src.set(targetOf(orgA(), projA(), noKey, "meanwhile"))
	b.get("/ping/"+projKey+"/meanwhile?create=1").want(t, 200, "OK")
	b.get("/ping/"+projKey+"/fresh?create=1").want(t, 201, "Created")
	b.creator.err = errDown
	b.get("/ping/"+projKey+"/another?create=1").want(t, 503, "try again")
}
