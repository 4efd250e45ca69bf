package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// SaveAlerts stores alerts that somebody posted, merged with those of the same labels as Alertmanager does, under a new version of
// the organisation's alerting. An alert of an incident or a rule that fires stays as it is. UpdatedAt is when it was posted.
func (s *Store) SaveAlerts(ctx context.Context, org tenant.OrgID, alerts []alert.Routed) error {
	if len(alerts) == 0 {
		return nil
	}
	return s.changeAlerting(ctx, "save alerts", org, func(q *db.Queries, now db.RaiseAlertingRow) error {
		rows := make([]db.PostAlertParams, len(alerts))
		for i, a := range alerts {
			labels, annotations, err := marshalTexts(a)
			if err != nil {
				return err
			}
			rows[i] = db.PostAlertParams{
				OrgID: org, Fingerprint: a.Fingerprint, Version: now.Version, Labels: labels, Annotations: annotations,
				GeneratorUrl: a.GeneratorURL, StartsAt: a.StartsAt, EndsAt: given(a.EndsAt), Timeout: a.Timeout, UpdatedAt: a.UpdatedAt,
			}
		}
		return execAll(q.PostAlert(ctx, rows).Exec)
	})
}

// RemoveAlerts removes those that were resolved and told, unless they changed since.
func (s *Store) RemoveAlerts(ctx context.Context, org tenant.OrgID, told []alert.Key) error {
	if len(told) == 0 {
		return nil
	}
	p := db.RemoveAlertsParams{OrgID: org}
	for _, k := range told {
		p.Fingerprints, p.Versions = append(p.Fingerprints, k.Fingerprint), append(p.Versions, k.Version)
	}
	return s.inTx(ctx, "remove alerts", func(q *db.Queries) error {
		if err := q.LockAlerting(ctx, org); err != nil { // one that changes them at the moment does so in another order
			return err
		}
		_, err := q.RemoveAlerts(ctx, p)
		return err
	})
}

// RoutedAlert reads the alert of this fingerprint.
func (s *Store) RoutedAlert(ctx context.Context, org tenant.OrgID, fingerprint string) (alert.Routed, error) {
	row, err := s.q.RoutedAlert(ctx, db.RoutedAlertParams{OrgID: org, Fingerprint: fingerprint})
	if err != nil {
		return alert.Routed{}, wrap("alert", err)
	}
	r, err := toRouted(row)
	return r, wrap("alert", err)
}

// RoutedByIncident reads the alert of an incident, or of a rule by its id.
func (s *Store) RoutedByIncident(ctx context.Context, org tenant.OrgID, incident uuid.UUID) (alert.Routed, error) {
	row, err := s.q.RoutedByIncident(ctx, db.RoutedByIncidentParams{OrgID: org, IncidentID: &incident})
	if err != nil {
		return alert.Routed{}, wrap("alert of incident", err)
	}
	r, err := toRouted(row)
	return r, wrap("alert of incident", err)
}

// AcknowledgeAlert says that somebody is on it, with the incident it may be of. by is a name for people. Again it changes nothing; an
// alert that has ended at the instant is a conflict.
func (s *Store) AcknowledgeAlert(ctx context.Context, org tenant.OrgID, fingerprint, by string, at time.Time) (alert.Routed, error) {
	var out alert.Routed
	err := s.changeAlerting(ctx, "acknowledge alert", org, func(q *db.Queries, now db.RaiseAlertingRow) error {
		row, err := q.RoutedAlert(ctx, db.RoutedAlertParams{OrgID: org, Fingerprint: fingerprint})
		if err != nil {
			return err
		}
		if row.EndsAt != nil && !row.EndsAt.After(at) {
			return fault.New(fault.Conflict, "the alert is resolved already")
		}
		_, err = q.AcknowledgeAlert(ctx, db.AcknowledgeAlertParams{
			OrgID: org, Fingerprint: fingerprint, Version: now.Version, AcknowledgedAt: &at, AcknowledgedBy: by,
		})
		if err != nil {
			return err
		}
		if row.IncidentID != nil && row.Source == string(alert.FromIncident) {
			if _, err := q.AcknowledgeIncident(ctx, db.AcknowledgeIncidentParams{OrgID: org, ID: *row.IncidentID}); err != nil {
				return err
			}
		}
		if row, err = q.RoutedAlert(ctx, db.RoutedAlertParams{OrgID: org, Fingerprint: fingerprint}); err != nil {
			return err
		}
		out, err = toRouted(row)
		return err
	})
	return out, err
}

// toRouted reads a row. Who acknowledged it stands in the annotations too.
func toRouted(r db.Alert) (alert.Routed, error) {
	out := alert.Routed{
		Org: r.OrgID, Fingerprint: r.Fingerprint, Version: r.Version, Source: alert.Source(r.Source), GeneratorURL: r.GeneratorUrl,
		StartsAt: r.StartsAt.UTC(), EndsAt: zeroable(r.EndsAt), Timeout: r.Timeout, UpdatedAt: r.UpdatedAt.UTC(),
		Incident: orNil(r.IncidentID), Monitor: orNil(r.MonitorID),
		AcknowledgedAt: zeroable(r.AcknowledgedAt), AcknowledgedBy: r.AcknowledgedBy,
	}
	if err := json.Unmarshal(r.Labels, &out.Labels); err != nil {
		return alert.Routed{}, fmt.Errorf("labels of alert %s: %w", r.Fingerprint, err)
	}
	if err := json.Unmarshal(r.Annotations, &out.Annotations); err != nil {
		return alert.Routed{}, fmt.Errorf("annotations of alert %s: %w", r.Fingerprint, err)
	}
	delete(out.Annotations, alert.AnnotationAckAt) // only we say so
	delete(out.Annotations, alert.AnnotationAckBy)
	if !out.AcknowledgedAt.IsZero() {
		out.Annotations[alert.AnnotationAckAt] = out.AcknowledgedAt.Format(time.RFC3339)
		out.Annotations[alert.AnnotationAckBy] = out.AcknowledgedBy
	}
	return out, nil
}

func marshalTexts(a alert.Routed) (labels, annotations []byte, err error) {
	if labels, err = json.Marshal(a.Labels); err != nil {
		return nil, nil, err
	}
	if len(a.Annotations) == 0 {
		return labels, []byte("{}"), nil
	}
	annotations, err = json.Marshal(a.Annotations)
	return labels, annotations, err
}

// given is nil for the zero time.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func zeroable(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func orNil(id *uuid.UUID) uuid.UUID {
	if id == nil {
		return uuid.Nil
	}
	return *id
}
