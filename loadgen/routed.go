package loadgen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
)

// routedConfig is a configuration that tells everything at once to one address.
func routedConfig(url string) string {
	return fmt.Sprintf(`# tokiflow bench detect --routed put this here, and takes it away at its end.
route:
  receiver: bench
  group_by: [project]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 4h
receivers:
  - name: bench
    webhook_configs:
      - url: %q
        send_resolved: true
`, url)
}

const configPath = "/api/v1/alerting/config"

// putRoutes gives the organisation a configuration that tells everything to the address, and returns what takes it away
// again. An organisation that has one of its own is left alone: its secrets could not be put back.
func (a *Admin) putRoutes(ctx context.Context, url string) (remove func(context.Context) error, err error) {
	var now struct {
		Default bool `json:"default"`
	}
	if err := a.call(ctx, http.MethodGet, configPath, nil, &now); err != nil {
		return nil, err
	}
	if !now.Default {
		return nil, errors.New("the organisation has an alerting configuration of its own, which this measurement would replace: use another organisation")
	}
	if err := a.call(ctx, http.MethodPut, configPath, map[string]any{"yaml": routedConfig(url)}, nil); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return a.call(ctx, http.MethodDelete, configPath, nil, nil) }, nil
}

// routed takes the webhooks of a receiver of the organisation's: each tells of a group of alerts.
type routed struct {
	*receiver
}

// ServeHTTP files every alert of the webhook as if it had come alone.
func (r routed) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(io.LimitReader(req.Body, 64<<20))
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	all, err := messages(body)
	if err != nil {
		all = []Received{{Fault: "the body is no message: " + err.Error()}}
	}
	for i := range all {
		all[i].At = at
		r.file(&all[i])
		select {
		case r.got <- all[i]:
		case <-req.Context().Done():
			http.Error(w, "too many at once", http.StatusServiceUnavailable)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// messages are the alerts of one of Alertmanager's webhooks, as the webhooks of the installation tell them.
func messages(body []byte) ([]Received, error) {
	var group struct {
		Alerts []struct {
			Status      string            `json:"status"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
			StartsAt    time.Time         `json:"startsAt"`
			EndsAt      time.Time         `json:"endsAt"`
		} `json:"alerts"`
	}
	if err := json.Unmarshal(body, &group); err != nil {
		return nil, err
	}
	out := make([]Received, 0, len(group.Alerts))
	for _, a := range group.Alerts {
		var got Received
		in := &got.Data.Incident
		in.OpenedAt, in.Kind = a.StartsAt, incident.Kind(a.Annotations[alert.AnnotationKind])
		in.Evidence = json.RawMessage(a.Annotations[alert.AnnotationEvidence])
		var errs [2]error
		in.ID, errs[0] = uuid.Parse(a.Annotations[alert.AnnotationIncident])
		in.MonitorID, errs[1] = uuid.Parse(a.Labels[alert.LabelID])
		if errors.Join(errs[:]...) != nil {
			continue // it is of no monitor: somebody posted it
		}
		got.Type, got.Timestamp = alert.TypeOpened, a.StartsAt
		if a.Status == "resolved" {
			got.Type, got.Timestamp = alert.TypeResolved, a.EndsAt
		}
		got.MessageID = in.ID.String() + " " + got.Type
		out = append(out, got)
	}
	return out, nil
}
