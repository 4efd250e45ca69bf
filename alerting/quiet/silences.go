package quiet

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/quiet"
)

// silencesOf makes the silences of an occurrence as it stands at the instant: one for each kind of thing in its scope, as a silence
// is about what all its matchers match. Of one that was cancelled, and for kinds that are not in the scope any more, they have ended.
// kinds are those of which there is one now, ended or not.
func silencesOf(u *quiet.Untold, now time.Time) (out []alert.StoredSilence, kinds []string, err error) {
	matchers := matchersOf(u)
	for _, kind := range []string{"all", "monitors", "projects", "tags"} {
		m, wanted := matchers[kind]
		if !wanted && !slices.Contains(u.Silenced, kind) {
			continue
		}
		starts, ends := u.StartsAt, u.EndsAt
		if u.Cancelled || !wanted {
			starts, ends = earlier(starts, now), now
		}
		if !wanted {
			m = silences.Matcher{Name: alert.LabelName, Value: "none: " + kind + " are not in the scope any more"}
		}
		s, err := silences.Encode(silences.Silence{
			ID: silenceID(u.Window, u.DueAt, kind), Matchers: []silences.Matcher{m}, StartsAt: starts, EndsAt: ends,
			CreatedBy: "tokiflow", Comment: "maintenance: " + u.Name,
		}, now)
		if err != nil {
			return nil, nil, err
		}
		out, kinds = append(out, s), append(kinds, kind)
	}
	return out, kinds, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// silenceID is the same for one occurrence whoever makes it.
func silenceID(window uuid.UUID, due time.Time, kind string) string {
	return uuid.NewSHA1(window, []byte(kind+" "+due.UTC().Format(time.RFC3339Nano))).String()
}

// matchersOf gives a matcher for each kind of thing in the scope.
func matchersOf(u *quiet.Untold) map[string]silences.Matcher {
	if u.Scope.All {
		return map[string]silences.Matcher{"all": {Name: alert.LabelName, Value: ".+", Regex: true}}
	}
	out := map[string]silences.Matcher{}
	if ids := u.Scope.Monitors; len(ids) > 0 {
		words := make([]string, len(ids))
		for i, id := range ids {
			words[i] = id.String()
		}
		out["monitors"] = oneOf(alert.LabelID, words)
	}
	if tags := u.Scope.Tags; len(tags) > 0 {
		out["tags"] = silences.Matcher{Name: alert.LabelTags, Value: ".*,(" + alternatives(tags) + "),.*", Regex: true}
	}
	if names := u.ProjectNames; len(names) > 0 {
		out["projects"] = oneOf(alert.LabelProject, names)
	}
	return out
}

func oneOf(label string, values []string) silences.Matcher {
	if len(values) == 1 {
		return silences.Matcher{Name: label, Value: values[0]}
	}
	return silences.Matcher{Name: label, Value: alternatives(values), Regex: true}
}

func alternatives(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = regexp.QuoteMeta(v)
	}
	return strings.Join(quoted, "|")
}
