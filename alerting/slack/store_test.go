package slack_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/history"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// fakeStore is everything that is stored.
type fakeStore struct {
	mu         sync.Mutex
	workspaces map[tenant.OrgID]alert.Workspace
	channels   map[string]bool
	states     map[uuid.UUID]tenant.OrgID
	seen       map[[32]byte]bool
	alerts     map[tenant.OrgID]map[string]alert.Routed
	silences   map[tenant.OrgID][]alert.StoredSilence
	orgs       map[tenant.OrgID]string
	monitors   map[tenant.OrgID][]inventory.Monitor
	incidents  map[tenant.OrgID][]inventory.Incident
	resolved   []string
	down       bool
	runs       []history.Run
}

var errDown = &fault.Error{Code: fault.Unavailable, Message: "the database cannot be reached, try again"}

func (s *fakeStore) lock() (func(), error) {
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		return func() {}, errDown
	}
	return s.mu.Unlock, nil
}

var errNone = fault.New(fault.NotFound, "there is no such thing")

func (s *fakeStore) PutSlackWorkspace(_ context.Context, org tenant.OrgID, w alert.Workspace) error {
	unlock, err := s.lock()
	defer unlock()
	if err == nil {
		w.Org = org
		s.workspaces[org] = w
	}
	return err
}

func (s *fakeStore) SlackWorkspace(_ context.Context, org tenant.OrgID) (alert.Workspace, error) {
	unlock, err := s.lock()
	defer unlock()
	w, ok := s.workspaces[org]
	if err == nil && !ok {
		err = errNone
	}
	return w, err
}

func (s *fakeStore) DeleteSlackWorkspace(ctx context.Context, org tenant.OrgID) (alert.Workspace, error) {
	w, err := s.SlackWorkspace(ctx, org)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.workspaces, org)
	return w, err
}

func (s *fakeStore) SlackTeam(_ context.Context, team string) ([]alert.Workspace, error) {
	unlock, err := s.lock()
	defer unlock()
	var out []alert.Workspace
	for _, w := range s.workspaces {
		if w.TeamID == team {
			out = append(out, w)
		}
	}
	return out, err
}

func (s *fakeStore) RevokeSlackWorkspace(_ context.Context, org tenant.OrgID, at time.Time, reason string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.workspaces[org]
	if w.Revoked() || !w.InstalledAt.Equal(at) {
		return false, nil
	}
	w.RevokedAt, w.RevokedReason = time.Now(), reason
	s.workspaces[org] = w
	return true, nil
}

func (s *fakeStore) RevokeSlackTeam(_ context.Context, team string, before time.Time, reason string) (int, error) {
	unlock, err := s.lock()
	defer unlock()
	n := 0
	for org, w := range s.workspaces {
		if w.TeamID == team && !w.InstalledAt.After(before) && err == nil {
			w.RevokedAt, w.RevokedReason = time.Now(), reason
			s.workspaces[org] = w
			n++
		}
	}
	return n, err
}

func (s *fakeStore) UseSlackChannel(_ context.Context, org tenant.OrgID, channel string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channels[org.String()+channel] = true
	return nil
}

func (s *fakeStore) SlackChannelUsed(_ context.Context, org tenant.OrgID, channel string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[org.String()+channel], nil
}

func (s *fakeStore) PutSlackState(_ context.Context, org tenant.OrgID, nonce uuid.UUID, _ time.Time) error {
	unlock, err := s.lock()
	defer unlock()
	if err == nil {
		s.states[nonce] = org
	}
	return err
}

func (s *fakeStore) TakeSlackState(_ context.Context, org tenant.OrgID, nonce uuid.UUID) (bool, error) {
	unlock, err := s.lock()
	defer unlock()
	ok := s.states[nonce] == org
	delete(s.states, nonce)
	return ok, err
}

func (s *fakeStore) SeeSlackRequest(_ context.Context, sum [32]byte, _ time.Time) (bool, error) {
	unlock, err := s.lock()
	defer unlock()
	first := !s.seen[sum]
	if err == nil {
		s.seen[sum] = true
	}
	return first, err
}

func (s *fakeStore) RoutedAlert(_ context.Context, org tenant.OrgID, fingerprint string) (alert.Routed, error) {
	unlock, err := s.lock()
	defer unlock()
	r, ok := s.alerts[org][fingerprint]
	if err == nil && !ok {
		err = errNone
	}
	return r, err
}

func (s *fakeStore) RoutedByIncident(_ context.Context, org tenant.OrgID, id uuid.UUID) (alert.Routed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.alerts[org] {
		if r.Incident == id {
			return r, nil
		}
	}
	return alert.Routed{}, errNone
}

func (s *fakeStore) AcknowledgeAlert(ctx context.Context, org tenant.OrgID, fingerprint, by string, at time.Time) (alert.Routed, error) {
	r, err := s.RoutedAlert(ctx, org, fingerprint)
	if err != nil || r.AcknowledgedBy != "" {
		return r, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.AcknowledgedBy, r.AcknowledgedAt = by, at
	r.Annotations[alert.AnnotationAckBy], r.Annotations[alert.AnnotationAckAt] = by, at.Format(time.RFC3339)
	s.alerts[org][fingerprint] = r
	return r, nil
}

func (s *fakeStore) SaveSilences(_ context.Context, org tenant.OrgID, list []alert.StoredSilence) error {
	unlock, err := s.lock()
	defer unlock()
	if err == nil {
		s.silences[org] = append(s.silences[org], list...)
	}
	return err
}

func (s *fakeStore) Incidents(_ context.Context, org tenant.OrgID, f inventory.IncidentFilter) ([]inventory.Incident, error) {
	unlock, err := s.lock()
	defer unlock()
	var out []inventory.Incident
	for _, i := range s.incidents[org] {
		if (f.Monitor == nil || *f.Monitor == i.Monitor) && slices.Contains(f.Statuses, i.Status) {
			out = append(out, i)
		}
	}
	return out, err
}

func (s *fakeStore) ResolveIncident(_ context.Context, org tenant.OrgID, id uuid.UUID, by string) error {
	unlock, err := s.lock()
	defer unlock()
	s.resolved = append(s.resolved, fmt.Sprint(org, " ", id, " ", by))
	return err
}

func (s *fakeStore) Organisation(_ context.Context, org tenant.OrgID) (inventory.Organisation, error) {
	unlock, err := s.lock()
	defer unlock()
	return inventory.Organisation{ID: org, Name: s.orgs[org]}, err
}

func (s *fakeStore) Monitors(_ context.Context, org tenant.OrgID, f inventory.MonitorFilter) ([]inventory.Monitor, error) {
	unlock, err := s.lock()
	defer unlock()
	var out []inventory.Monitor
	for _, m := range s.monitors[org] {
		if strings.Contains(strings.ToLower(m.Config.Name), strings.ToLower(f.Name)) && (f.Limit == 0 || len(out) < f.Limit) {
			out = append(out, m)
		}
	}
	return out, err
}

func (s *fakeStore) SetPaused(_ context.Context, org tenant.OrgID, id uuid.UUID, paused bool) (inventory.Monitor, error) {
	unlock, err := s.lock()
	defer unlock()
	for i, m := range s.monitors[org] {
		if m.ID == id && err == nil {
			s.monitors[org][i].Status = map[bool]monitor.Status{true: monitor.Paused, false: monitor.New}[paused]
			return s.monitors[org][i], nil
		}
	}
	return inventory.Monitor{}, cmpErr(err)
}

func cmpErr(err error) error {
	if err != nil {
		return err
	}
	return errNone
}

func (s *fakeStore) Runs(context.Context, tenant.OrgID, uuid.UUID, history.Page) ([]history.Run, error) {
	unlock, err := s.lock()
	defer unlock()
	return s.runs, err
}

func (s *fakeStore) Authenticate(_ context.Context, key string) (tenant.Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for org, name := range s.orgs {
		switch key {
		case name + "-write":
			return tenant.Identity{Org: org, Scopes: []tenant.Scope{tenant.ScopeWrite}}, nil
		case name + "-read":
			return tenant.Identity{Org: org, Scopes: []tenant.Scope{tenant.ScopeRead}}, nil
		}
	}
	return tenant.Identity{}, fault.New(fault.Unauthenticated, "the API key is unknown or revoked")
}
