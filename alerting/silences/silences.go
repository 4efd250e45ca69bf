// Package silences makes silences and reads them back: what maintenance windows and buttons in a chat store is what amtool shows.
package silences

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokiflow/tokiflow/core/alert"
)

// Retention is how long an ended silence can still be read, as Alertmanager's own default has it.
const Retention = 120 * time.Hour

// Matcher picks alerts by one label.
type Matcher struct {
	Name     string
	Value    string
	Regex    bool // Value is a regular expression that must match the whole
	Negative bool
}

// Silence mutes the alerts that all its matchers match.
type Silence struct {
	ID        string // a UUID; empty: Encode makes one
	Matchers  []Matcher
	StartsAt  time.Time
	EndsAt    time.Time
	CreatedBy string
	Comment   string
}

// Encode gives the silence as it is stored, as written at the instant: of two with one ID the later written counts.
func Encode(s Silence, at time.Time) (alert.StoredSilence, error) {
	if len(s.Matchers) == 0 {
		return alert.StoredSilence{}, errors.New("a silence needs a matcher")
	}
	if !s.EndsAt.After(s.StartsAt) && !s.EndsAt.Equal(s.StartsAt) {
		return alert.StoredSilence{}, errors.New("a silence must end after it starts")
	}
	if s.ID == "" {
		s.ID = uuid.NewString()
	}
	expires := s.EndsAt.Add(Retention)
	body, err := Marshal(&silencepb.MeshSilence{
		Silence: &silencepb.Silence{
			Id: s.ID, MatcherSets: []*silencepb.MatcherSet{{Matchers: protoMatchers(s.Matchers)}}, Matchers: protoMatchers(s.Matchers),
			StartsAt: timestamppb.New(s.StartsAt), EndsAt: timestamppb.New(s.EndsAt), UpdatedAt: timestamppb.New(at),
			CreatedBy: s.CreatedBy, Comment: s.Comment,
		},
		ExpiresAt: timestamppb.New(expires),
	})
	return alert.StoredSilence{ID: s.ID, EndsAt: s.EndsAt, ExpiresAt: expires, Body: body}, err
}

// Marshal gives Alertmanager's silence as it is stored.
func Marshal(m *silencepb.MeshSilence) ([]byte, error) {
	var b bytes.Buffer
	_, err := protodelim.MarshalTo(&b, m)
	return b.Bytes(), err
}

// Unmarshal reads what Marshal gave.
func Unmarshal(body []byte) (*silencepb.MeshSilence, error) {
	var m silencepb.MeshSilence
	if err := protodelim.UnmarshalFrom(bufio.NewReader(bytes.NewReader(body)), &m); err != nil {
		return nil, fmt.Errorf("a stored silence cannot be read: %w", err)
	}
	if m.Silence == nil {
		return nil, errors.New("a stored silence is empty")
	}
	return &m, nil
}

func protoMatchers(in []Matcher) []*silencepb.Matcher {
	out := make([]*silencepb.Matcher, len(in))
	for i, m := range in {
		out[i] = &silencepb.Matcher{Name: m.Name, Pattern: m.Value, Type: matcherType(m)}
	}
	return out
}

func matcherType(m Matcher) silencepb.Matcher_Type {
	switch {
	case m.Regex && m.Negative:
		return silencepb.Matcher_NOT_REGEXP
	case m.Regex:
		return silencepb.Matcher_REGEXP
	case m.Negative:
		return silencepb.Matcher_NOT_EQUAL
	}
	return silencepb.Matcher_EQUAL
}
