package api_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/api"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// triedReceivers has one receiver, ops, of one organisation.
type triedReceivers struct {
	org  tenant.OrgID
	busy func() // where not nil it is called within a test
}

func (r *triedReceivers) Receivers(_ context.Context, org tenant.OrgID) ([]alert.Receiver, error) {
	if org != r.org {
		return nil, nil
	}
	return []alert.Receiver{
		{Name: "ops", Integrations: []alert.Integration{{Name: "webhook[0]", Kind: "webhook", SendResolved: true}}},
		{Name: "nobody"},
	}, nil
}

func (r *triedReceivers) TestReceiver(_ context.Context, org tenant.OrgID, name string) ([]alert.Notification, error) {
	if org != r.org || name != "ops 1/2" {
		return nil, fault.New(fault.NotFound, "there is no such receiver")
	}
	if r.busy != nil {
		r.busy()
	}
	return []alert.Notification{
		{Integration: "webhook[0]", Status: alert.Delivered, Latency: 20 * time.Millisecond},
		{Integration: "webhook[1]", Status: alert.Failed, StatusCode: 404, Error: "answered 404 Not Found", Latency: time.Second},
	}, nil
}

func TestReceiversAreListedAndTried(t *testing.T) {
	receivers := &triedReceivers{}
	now := time.Now()
	s := newBundle(t, func(o *api.Options) {
		o.Receivers = receivers
		o.Clock = func() time.Time { return now }
	})
	receivers.org = s.a.org

	if d := cmp.Diff([]map[string]any{
		{"name": "ops", "integrations": []any{map[string]any{"name": "webhook[0]", "kind": "webhook", "send_resolved": true}}},
		{"name": "nobody", "integrations": []any{}},
	}, s.do(s.a.read, http.MethodGet, "/api/v1/receivers", nil).want(http.StatusOK).items()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if n := len(s.do(s.b.read, http.MethodGet, "/api/v1/receivers", nil).want(http.StatusOK).items()); n != 0 {
		t.Errorf("another organisation sees %d", n)
	}

	const path = "/api/v1/receivers/ops%201%2F2/test"
	if d := cmp.Diff([]map[string]any{
		{"integration": "webhook[0]", "delivered": true, "status_code": 0.0, "error": "", "latency_seconds": 0.02},
		{"integration": "webhook[1]", "delivered": false, "status_code": 404.0, "error": "answered 404 Not Found", "latency_seconds": 1.0},
	}, s.do(s.a.write, http.MethodPost, path, nil).want(http.StatusOK).items()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	s.do(s.a.write, http.MethodPost, "/api/v1/receivers/unknown/test", nil).want(http.StatusNotFound)
	s.do(s.b.write, http.MethodPost, path, nil).want(http.StatusNotFound)
	s.do(s.a.read, http.MethodPost, path, nil).want(http.StatusForbidden)

	for range 4 { // two were
		s.do(s.a.write, http.MethodPost, path, nil).want(http.StatusOK)
	}
	if a := s.do(s.a.write, http.MethodPost, path, nil).want(http.StatusTooManyRequests); a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.do(s.b.write, http.MethodPost, path, nil).want(http.StatusNotFound) // its own limit
	now = now.Add(time.Minute)
	s.do(s.a.write, http.MethodPost, path, nil).want(http.StatusOK)
}

func TestWithoutAlertingThereAreNoReceivers(t *testing.T) {
	s := newBundle(t)
	s.do(s.a.read, http.MethodGet, "/api/v1/receivers", nil).want(http.StatusServiceUnavailable)
	s.do(s.a.write, http.MethodPost, "/api/v1/receivers/ops/test", nil).want(http.StatusServiceUnavailable)
}

func TestReceiversAreTriedOneAtATime(t *testing.T) {
	receivers := &triedReceivers{}
	s := newBundle(t, func(o *api.Options) { o.Receivers = receivers })
	receivers.org = s.a.org
	const path = "/api/v1/receivers/ops%201%2F2/test"
	within := 0
	receivers.busy = func() {
		within++
		if a := s.do(s.a.write, http.MethodPost, path, nil).want(http.StatusTooManyRequests); a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		s.do(s.b.write, http.MethodPost, path, nil).want(http.StatusNotFound) // it is another organisation's
	}
	for range 2 {
		s.do(s.a.write, http.MethodPost, path, nil).want(http.StatusOK)
	}
	if within != 2 {
		t.Errorf("%d tests were made", within)
	}
}
