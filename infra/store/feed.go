package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/rule"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// FeedAlerts turns up to limit outbox rows, the oldest first, into alerts of their organisations, and tells whoever follows those. baseURL
// is where people reach this installation, without a slash at its end. While another process feeds it does nothing.
func (s *Store) FeedAlerts(ctx context.Context, limit int, baseURL string) (alert.Fed, error) {
	var fed alert.Fed
	err := s.inTx(ctx, "feed alerts", func(q *db.Queries) error {
		fed = alert.Fed{}
		if mine, err := q.LockFeed(ctx); err != nil || !mine {
			return err
		}
		rows, err := q.UnfedOutbox(ctx, rowLimit(limit))
		if err != nil || len(rows) == 0 {
			return err
		}
		f := feeding{q: q, baseURL: baseURL}
		if err := f.feed(ctx, rows); err != nil {
			return err
		}
		fed = alert.Fed{Rows: len(rows), Unreadable: f.unreadable}
		ids := make([]int64, len(rows))
		for i, r := range rows {
			ids[i] = r.ID
		}
		return q.MarkFed(ctx, ids)
	})
	if err != nil {
		return alert.Fed{}, err
	}
	return fed, nil
}

// OldestUnfed is when the oldest outbox row was written that is in no alert yet; zero: there is none.
func (s *Store) OldestUnfed(ctx context.Context) (time.Time, error) {
	at, err := s.q.OldestUnfed(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, nil
	}
	return at.UTC(), wrap("oldest unfed alert", err)
}

// feeding is one transaction of the feeder.
type feeding struct {
	q          *db.Queries
	baseURL    string
	versions   map[tenant.OrgID]int64 // without organisations that are gone
	projects   map[ofOrg]string       // by monitor
	acks       map[ofOrg]db.AcknowledgedIncidentsRow
	unreadable []alert.Unreadable

	// What is to be written: first what fires, then what is resolved.
	fire     []db.FireAlertParams
	resolve  []db.ResolveAlertParams
	resolved map[ofOrg]bool // incidents in resolve
}

// ofOrg is something of an organisation.
type ofOrg struct {
	org tenant.OrgID
	id  uuid.UUID
}

func (f *feeding) feed(ctx context.Context, rows []db.UnfedOutboxRow) error {
	// First of all, so that nobody acknowledges an incident between reading and writing.
	if err := f.raise(ctx, rows); err != nil {
		return err
	}
	if err := f.lookUp(ctx, rows); err != nil {
		return err
	}
	f.resolved = map[ofOrg]bool{}
	for _, r := range rows {
		if _, there := f.versions[r.OrgID]; !there {
			continue
		}
		a, err := f.read(r)
		if err != nil {
			f.unreadable = append(f.unreadable, alert.Unreadable{Outbox: r.ID, Org: r.OrgID, Type: r.Type, Err: err})
			continue
		}
		if err := f.add(ctx, a); err != nil {
			return err
		}
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	for _, org := range f.orgs() {
		if err := f.q.NotifyAlerting(ctx, org.String()); err != nil {
			return err
		}
	}
	return nil
}

// raise raises the version of each organisation, in the order of their ids: so two transactions never wait for each other.
func (f *feeding) raise(ctx context.Context, rows []db.UnfedOutboxRow) error {
	f.versions = map[tenant.OrgID]int64{}
	for _, r := range rows {
		f.versions[r.OrgID] = 0
	}
	for _, org := range f.orgs() {
		now, err := f.q.RaiseAlerting(ctx, org)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			delete(f.versions, org) // the organisation is gone, and nobody is to be told
		case err != nil:
			return err
		default:
			f.versions[org] = now.Version
		}
	}
	return nil
}

func (f *feeding) orgs() []tenant.OrgID {
	out := make([]tenant.OrgID, 0, len(f.versions))
	for org := range f.versions {
		out = append(out, org)
	}
	slices.SortFunc(out, func(a, b tenant.OrgID) int { return bytes.Compare(a.UUID[:], b.UUID[:]) })
	return out
}

// lookUp finds what messages do not tell: projects, and who acknowledged an incident before it became an alert.
func (f *feeding) lookUp(ctx context.Context, rows []db.UnfedOutboxRow) error {
	var incidents, monitors []uuid.UUID
	for _, r := range rows {
		if r.Type != alert.TypeOpened {
			continue
		}
		var m alert.Message
		if json.Unmarshal(r.Payload, &m) == nil {
			incidents, monitors = append(incidents, r.IncidentID), append(monitors, m.Data.Monitor.ID)
		}
	}
	f.projects, f.acks = map[ofOrg]string{}, map[ofOrg]db.AcknowledgedIncidentsRow{}
	if len(incidents) == 0 {
		return nil
	}
	projects, err := f.q.ProjectsOfMonitors(ctx, monitors)
	if err != nil {
		return err
	}
	for _, p := range projects {
		f.projects[ofOrg{p.OrgID, p.ID}] = p.Name
	}
	acks, err := f.q.AcknowledgedIncidents(ctx, incidents)
	for _, a := range acks {
		f.acks[ofOrg{a.OrgID, a.ID}] = a
	}
	return err
}

// read makes an alert of an outbox row.
func (f *feeding) read(r db.UnfedOutboxRow) (alert.Routed, error) {
	switch r.Type {
	case alert.TypeOpened, alert.TypeResolved:
		var m alert.Message
		if err := json.Unmarshal(r.Payload, &m); err != nil {
			return alert.Routed{}, err
		}
		m.Type, m.Data.Incident.ID = r.Type, r.IncidentID
		a, err := alert.RoutedOf(r.OrgID, m, f.projects[ofOrg{r.OrgID, m.Data.Monitor.ID}], f.baseURL)
		if ack, ok := f.acks[ofOrg{r.OrgID, r.IncidentID}]; ok && ack.AcknowledgedAt != nil {
			a.AcknowledgedAt, a.AcknowledgedBy = *ack.AcknowledgedAt, ack.AcknowledgedBy
		}
		return a, err
	case rule.TypeFiring, rule.TypeResolved:
		var m rule.Message
		if err := json.Unmarshal(r.Payload, &m); err != nil {
			return alert.Routed{}, err
		}
		v := m.Data.Alert
		if r.Type == rule.TypeResolved && v.EndsAt == nil {
			v.EndsAt = &m.Timestamp
		}
		return alert.RoutedOfRule(r.OrgID, alert.OfRule{
			ID: r.IncidentID, Labels: v.Labels, Annotations: v.Annotations, StartsAt: v.StartsAt, EndsAt: v.EndsAt, GeneratorURL: v.GeneratorURL,
		})
	}
	return alert.Routed{}, fmt.Errorf("nothing is known of the type %q", r.Type)
}

// add puts an alert among what is to be written. What was resolved before it fires again is written first.
func (f *feeding) add(ctx context.Context, a alert.Routed) error {
	of := ofOrg{a.Org, a.Incident}
	if !a.EndsAt.IsZero() {
		f.resolved[of] = true
		f.resolve = append(f.resolve, db.ResolveAlertParams{OrgID: a.Org, Version: f.versions[a.Org], IncidentID: &a.Incident, EndsAt: a.EndsAt})
		return nil
	}
	if f.resolved[of] {
		if err := f.flush(ctx); err != nil {
			return err
		}
	}
	labels, annotations, err := marshalTexts(a)
	if err != nil {
		return err
	}
	p := db.FireAlertParams{
		OrgID: a.Org, Fingerprint: a.Fingerprint, Version: f.versions[a.Org], Source: string(a.Source), Labels: labels, Annotations: annotations,
		GeneratorUrl: a.GeneratorURL, StartsAt: a.StartsAt, IncidentID: &a.Incident, AcknowledgedAt: given(a.AcknowledgedAt), AcknowledgedBy: a.AcknowledgedBy,
	}
	if a.Monitor != uuid.Nil {
		p.MonitorID = &a.Monitor
	}
	f.fire = append(f.fire, p)
	return nil
}

func (f *feeding) flush(ctx context.Context) error {
	if len(f.fire) > 0 {
		if err := execAll(f.q.FireAlert(ctx, f.fire).Exec); err != nil {
			return err
		}
	}
	if len(f.resolve) > 0 {
		if err := execAll(f.q.ResolveAlert(ctx, f.resolve).Exec); err != nil {
			return err
		}
	}
	f.fire, f.resolve = nil, nil
	clear(f.resolved)
	return nil
}
