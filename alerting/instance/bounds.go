package instance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/prometheus/alertmanager/api/v2/models"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"

	amalert "github.com/prometheus/alertmanager/alert"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/alerting/silences"
)

// What one organisation may have this process keep by way of the API, in bytes: what somebody can post, many can post at once.
const (
	maxSilencesWeight = 64 << 20 // of all silences with their compiled matchers
	maxPostedWeight   = 64 << 20 // of the labels and annotations of all alerts
	patternWeight     = 20       // of what config.PatternCost counts
)

// refusal says why the silence that a request brings cannot be kept; "" where it can, or is no silence. The lock is held.
func (f *front) refusal(body []byte, before map[string]*silencepb.Silence) string {
	var s models.PostableSilence
	if json.NewDecoder(bytes.NewReader(body)).Decode(&s) != nil { // as the API reads it, which says what is wrong
		return ""
	}
	cost := 0
	for _, m := range s.Matchers {
		if m != nil && m.IsRegex != nil && *m.IsRegex && m.Value != nil {
			cost += patternWeight * config.PatternCost(*m.Value)
		}
	}
	if cost > maxSilencesWeight/100 {
		return "the regular expressions of the silence are too large: repeat and list less in them"
	}
	total := cost + len(body)
	maps.DeleteFunc(f.weights, func(id string, _ int) bool { return before[id] == nil })
	for id, known := range before {
		if f.weights[id] == 0 {
			f.weights[id] = weightOf(known)
		}
		total += f.weights[id]
	}
	if total > maxSilencesWeight {
		return fmt.Sprintf("the silences are too large together, with those that ended within %s: expire some, match less", silences.Retention)
	}
	return ""
}

// weightOf is about what a silence takes, in bytes: more than 0.
func weightOf(s *silencepb.Silence) int {
	n := 1 + proto.Size(s)
	for _, set := range silences.MatcherSets(s) {
		for _, m := range set.Matchers {
			if m.Type == silencepb.Matcher_REGEXP || m.Type == silencepb.Matcher_NOT_REGEXP {
				n += patternWeight * config.PatternCost(m.Pattern)
			}
		}
	}
	return n
}

// storable takes out of a posted alert the character that the table cannot hold.
func storable(a *amalert.Alert) {
	for _, set := range []*model.LabelSet{&a.Labels, &a.Annotations} {
		out := make(model.LabelSet, len(*set))
		for name, value := range *set {
			out[model.LabelName(withoutNUL(string(name)))] = model.LabelValue(withoutNUL(string(value)))
		}
		*set = out
	}
	a.GeneratorURL = withoutNUL(a.GeneratorURL)
}

func withoutNUL(s string) string { return strings.ReplaceAll(s, "\x00", "\uFFFD") }

// textsOf is how long labels and annotations are, in bytes.
func textsOf(a *amalert.Alert) int {
	n := len(a.GeneratorURL)
	for _, set := range []model.LabelSet{a.Labels, a.Annotations} {
		for name, value := range set {
			n += len(name) + len(value)
		}
	}
	return n
}
