package api

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Receivers shows and tries the receivers of an organisation's stored alerting configuration, or of the default one.
type Receivers interface {
	// Receivers lists them in the configuration's order.
	Receivers(ctx context.Context, org tenant.OrgID) ([]alert.Receiver, error)
	// TestReceiver sends a test alert through every integration of the receiver, once, and says what came of each. A receiver that is not
	// there is a fault of code not_found. It takes some seconds.
	TestReceiver(ctx context.Context, org tenant.OrgID, name string) ([]alert.Notification, error)
}

// receiverView is a receiver in an answer.
type receiverView struct {
	Name         string            `json:"name"`
	Integrations []integrationView `json:"integrations" nullable:"false"`
}

type integrationView struct {
	Name         string `json:"name" doc:"As in notifications: webhook[0] is the first of webhook_configs."`
	Kind         string `json:"kind"`
	SendResolved bool   `json:"send_resolved"`
}

// triedView is what came of a test alert at one integration.
type triedView struct {
	Integration    string  `json:"integration"`
	Delivered      bool    `json:"delivered"`
	StatusCode     int     `json:"status_code" doc:"HTTP or SMTP status of the answer; 0: none is known."`
	Error          string  `json:"error" doc:"Without secrets; empty: it was delivered."`
	LatencySeconds float64 `json:"latency_seconds"`
}

func (a *API) receiverOperations(h huma.API) {
	tags := []string{"Alerting"}
	operation(a, h, huma.Operation{
		OperationID: "list-receivers", Method: http.MethodGet, Path: "/api/v1/receivers", Tags: tags,
		Summary: "List receivers", Description: "Those of the alerting configuration, in its order, without secrets.",
	}, tenant.ScopeRead, a.listReceivers)
	operation(a, h, huma.Operation{
		OperationID: "test-receiver", Method: http.MethodPost, Path: "/api/v1/receivers/{name}/test", Tags: tags,
		Errors: []int{http.StatusTooManyRequests}, Summary: "Send a test alert to a receiver",
		Description: "Sends one firing alert, alertname TokiflowTest, through every integration of the stored receiver, each once, and waits for the " +
			"answers, about ten seconds at most. It is written down with the notifications, and not resolved afterwards. Six a minute.",
	}, tenant.ScopeWrite, a.testReceiver)
}

func (a *API) listReceivers(ctx context.Context, who tenant.Identity, _ *struct{}) (*list[receiverView], error) {
	if a.receivers == nil {
		return nil, errNoReceivers()
	}
	all, err := a.receivers.Receivers(ctx, who.Org)
	if err != nil {
		return nil, err
	}
	out := &list[receiverView]{Body: listBody[receiverView]{Items: make([]receiverView, len(all))}}
	for i, r := range all {
		out.Body.Items[i] = receiverView{Name: r.Name, Integrations: make([]integrationView, len(r.Integrations))}
		for j, one := range r.Integrations {
			out.Body.Items[i].Integrations[j] = integrationView(one)
		}
	}
	return out, nil
}

func errNoReceivers() error {
	return fault.New(fault.Unavailable, "this server routes no alerts")
}

type receiverPath struct {
	Name string `path:"name" maxLength:"1000" doc:"The receiver's name."`
}

func (a *API) testReceiver(ctx context.Context, who tenant.Identity, in *receiverPath) (*list[triedView], error) {
	if a.receivers == nil {
		return nil, errNoReceivers()
	}
	if !a.trials.allow(who.Org, a.now()) {
		return nil, huma.ErrorWithHeaders(huma.NewError(http.StatusTooManyRequests, "six tests a minute are enough: try again in a while"),
			http.Header{"Retry-After": {"10"}})
	}
	done, ok := a.trials.begin(who.Org)
	if !ok {
		return nil, huma.ErrorWithHeaders(huma.NewError(http.StatusTooManyRequests, "another test is under way: try again when it has ended"),
			http.Header{"Retry-After": {"10"}})
	}
	defer done()
	tried, err := a.receivers.TestReceiver(ctx, who.Org, in.Name)
	if err != nil {
		return nil, err
	}
	out := &list[triedView]{Body: listBody[triedView]{Items: make([]triedView, len(tried))}}
	for i, n := range tried {
		out.Body.Items[i] = triedView{
			Integration: n.Integration, Delivered: n.Status == alert.Delivered, StatusCode: n.StatusCode, Error: n.Error,
			LatencySeconds: n.Latency.Seconds(),
		}
	}
	return out, nil
}

// trials limits an organisation to six tests a minute in this process, one at a time, so that nobody's receiver is flooded through us.
// The zero value is ready. Safe for concurrent use.
type trials struct {
	mu      sync.Mutex
	last    map[tenant.OrgID][]time.Time
	running map[tenant.OrgID]struct{}
}

// begin reports whether no other test of the organisation is under way. Then done ends this one.
func (t *trials) begin(org tenant.OrgID) (done func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, busy := t.running[org]; busy {
		return nil, false
	}
	if t.running == nil {
		t.running = map[tenant.OrgID]struct{}{}
	}
	t.running[org] = struct{}{}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.running, org)
	}, true
}

func (t *trials) allow(org tenant.OrgID, now time.Time) bool {
	const most, window = 6, time.Minute
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil || len(t.last) > 10_000 {
		t.last = map[tenant.OrgID][]time.Time{}
	}
	var recent []time.Time
	for _, at := range t.last[org] {
		if now.Sub(at) < window {
			recent = append(recent, at)
		}
	}
	if len(recent) >= most {
		t.last[org] = recent
		return false
	}
	t.last[org] = append(recent, now)
	return true
}
