package forward_test

import (
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// receiver takes remote write and remembers every sample and how often it came.
type receiver struct {
	*httptest.Server
	t *testing.T
	// answer says what to answer to a request, before (taken false) or after its samples are kept; 0: 204.
	mu       sync.Mutex
	answer   func(n int) (status int, taken bool)
	requests int
	came     map[string]map[int64]int // times by series and instant
	headers  []http.Header
	most     int // samples in one request
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t, came: map[string]map[int64]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

func (r *receiver) answers(f func(n int) (status int, taken bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // it was killed while sending
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.headers = append(r.headers, req.Header.Clone())
	status, taken := http.StatusNoContent, true
	if r.answer != nil {
		if status, taken = r.answer(r.requests); status == 0 {
			status = http.StatusNoContent
		}
	}
	if taken {
		r.keep(body)
	}
	if status >= 400 {
		w.Header().Set("Retry-After", "0")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "said "+req.Header.Get("Authorization"))
}

func (r *receiver) keep(body []byte) {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		r.t.Errorf("not snappy: %v", err)
		return
	}
	var m prompb.WriteRequest
	if err := m.Unmarshal(plain); err != nil {
		r.t.Errorf("no write request: %v", err)
		return
	}
	n := 0
	for _, ts := range m.Timeseries {
		if !slices.IsSortedFunc(ts.Labels, func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) }) {
			r.t.Errorf("labels are not sorted: %v", ts.Labels)
		}
		id := ""
		for _, l := range ts.Labels {
			if l.Name == "id" {
				id = l.Value
			}
		}
		if r.came[id] == nil {
			r.came[id] = map[int64]int{}
		}
		var i int
		_, number, _ := strings.Cut(id, "/")
		_, _ = fmt.Sscan(number, &i)
		for _, s := range ts.Samples {
			n++
			r.came[id][s.Timestamp]++
			if math.Float64bits(s.Value) != math.Float64bits(worth(i, s.Timestamp)) {
				r.t.Errorf("%s at %d is %v", id, s.Timestamp, s.Value)
			}
		}
	}
	r.most = max(r.most, n)
}

// check fails the test unless each of the organisation's series came at every instant after from up to to, and nothing else did.
// It returns the instants that came more than once.
func (r *receiver) check(org tenant.OrgID, count int, from, to time.Time) (again []int64) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.came) != count {
		r.t.Errorf("%d series came, want %d", len(r.came), count)
	}
	twice := map[int64]bool{}
	for i := range count {
		came := r.came[fmt.Sprint(org, "/", i)]
		for at := from.Add(step); !at.After(to); at = at.Add(step) {
			switch n := came[at.UnixMilli()]; {
			case n == 0:
				r.t.Errorf("series %d has a gap at %v", i, at)
			case n > 1:
				twice[at.UnixMilli()] = true
			}
		}
		if want := int(to.Sub(from) / step); len(came) != want {
			r.t.Errorf("series %d came at %d instants, want %d", i, len(came), want)
		}
	}
	return slices.Sorted(maps.Keys(twice))
}

// newReceiverAt listens where another did.
func newReceiverAt(t *testing.T, addr string) *receiver {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, came: map[string]map[int64]int{}}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(r.serve))
	_ = r.Listener.Close()
	r.Listener = l
	r.Start()
	t.Cleanup(r.Close)
	return r
}
