// Package silences makes silences and reads them back: what maintenance windows and buttons in a chat store is what amtool shows.
package silences

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/pkg/labels"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"github.com/prometheus/common/model"
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
	if s.ID == "" {
		s.ID = uuid.NewString()
	}
	// Both lists, as Alertmanager writes them: an older one reads the second only.
	m := &silencepb.MeshSilence{
		Silence: &silencepb.Silence{
			Id: s.ID, MatcherSets: []*silencepb.MatcherSet{{Matchers: protoMatchers(s.Matchers)}}, Matchers: protoMatchers(s.Matchers),
			StartsAt: timestamppb.New(s.StartsAt), EndsAt: timestamppb.New(s.EndsAt), UpdatedAt: timestamppb.New(at),
			CreatedBy: s.CreatedBy, Comment: s.Comment,
		},
		ExpiresAt: timestamppb.New(s.EndsAt.Add(Retention)),
	}
	if s.StartsAt.IsZero() || s.EndsAt.IsZero() {
		return alert.StoredSilence{}, errors.New("a silence needs a start and an end")
	}
	if err := Check(m.Silence); err != nil {
		return alert.StoredSilence{}, err
	}
	body, err := Marshal(m)
	if err != nil {
		return alert.StoredSilence{}, err
	}
	return Stored(m, body), nil
}

// Check says what is wrong with a silence. One that Alertmanager cannot read would keep it from finding any other: so none may come in.
func Check(s *silencepb.Silence) error {
	sets := MatcherSets(s)
	if s.Id == "" {
		return errors.New("a silence needs an id")
	}
	if s.EndsAt.AsTime().Before(s.StartsAt.AsTime()) {
		return errors.New("a silence must end after it starts")
	}
	if len(sets) == 0 {
		return errors.New("a silence needs a matcher")
	}
	for _, set := range sets {
		if err := checkMatchers(set.Matchers); err != nil {
			return err
		}
	}
	return nil
}

func checkMatchers(matchers []*silencepb.Matcher) error {
	everything := true
	for _, m := range matchers {
		if m.Name == "" || !model.UTF8Validation.IsValidLabelName(m.Name) {
			return fmt.Errorf("a silence cannot match by a label called %q", m.Name)
		}
		kind, ok := matchTypes()[m.Type]
		if !ok {
			return fmt.Errorf("a silence has a matcher of the unknown type %d", m.Type)
		}
		matcher, err := labels.NewMatcher(kind, m.Name, m.Pattern)
		if err != nil {
			return fmt.Errorf("a silence has a regular expression that cannot be read, %q: %w", m.Pattern, err)
		}
		negative := kind == labels.MatchNotEqual || kind == labels.MatchNotRegexp
		everything = everything && !negative && matcher.Matches("")
	}
	if everything {
		return errors.New("a silence needs a matcher that does not match the empty string")
	}
	return nil
}

func matchTypes() map[silencepb.Matcher_Type]labels.MatchType {
	return map[silencepb.Matcher_Type]labels.MatchType{
		silencepb.Matcher_EQUAL: labels.MatchEqual, silencepb.Matcher_NOT_EQUAL: labels.MatchNotEqual,
		silencepb.Matcher_REGEXP: labels.MatchRegexp, silencepb.Matcher_NOT_REGEXP: labels.MatchNotRegexp,
	}
}

// MatcherSets returns the matchers of a silence wherever they stand: an alert is muted when all of one set match.
func MatcherSets(s *silencepb.Silence) []*silencepb.MatcherSet {
	if len(s.MatcherSets) == 0 && len(s.Matchers) > 0 {
		return []*silencepb.MatcherSet{{Matchers: s.Matchers}}
	}
	return s.MatcherSets
}

// Stored gives Alertmanager's silence as it is stored; body is what Marshal gave of it.
func Stored(m *silencepb.MeshSilence, body []byte) alert.StoredSilence {
	return alert.StoredSilence{ID: m.Silence.Id, EndsAt: m.Silence.EndsAt.AsTime(), ExpiresAt: m.ExpiresAt.AsTime(), Body: body}
}

// Marshal gives Alertmanager's silence as it is stored.
func Marshal(m *silencepb.MeshSilence) ([]byte, error) {
	var b bytes.Buffer
	_, err := protodelim.MarshalTo(&b, m)
	return b.Bytes(), err
}

// Unmarshal reads what Marshal gave, and checks it.
func Unmarshal(body []byte) (*silencepb.MeshSilence, error) {
	var m silencepb.MeshSilence
	if err := protodelim.UnmarshalFrom(bufio.NewReader(bytes.NewReader(body)), &m); err != nil {
		return nil, fmt.Errorf("a stored silence cannot be read: %w", err)
	}
	if m.Silence == nil {
		return nil, errors.New("a stored silence is empty")
	}
	if err := Check(m.Silence); err != nil {
		return nil, err
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
