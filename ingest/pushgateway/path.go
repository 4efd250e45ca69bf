package pushgateway

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

const (
	prefix       = "/push/metrics/"
	base64Suffix = "@base64"
)

// groupingKey reads the grouping key out of an escaped path: the job, and further labels. Labels without a value are in the key,
// as the Pushgateway has it, and are none on the series. The error is for the caller's side.
func groupingKey(path string, rules *admit.Rules) ([]series.Label, error) {
	_, rest, _ := strings.Cut(path, prefix)
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	if name, _, _ := strings.Cut(parts[0], "@"); name != "job" {
		return nil, fmt.Errorf("the path is %sjob/<job>{/<label>/<value>}", prefix)
	}
	if len(parts)%2 != 0 {
		return nil, fmt.Errorf("odd number of components in label string %q", rest)
	}
	found := map[string]string{}
	for i := len(parts) - 2; i >= 0; i -= 2 { // from the end, so that the job comes last and wins
		name, value, err := labelOf(parts[i], parts[i+1])
		if err != nil {
			return nil, err
		}
		if _, ok := found[name]; ok && i > 0 {
			return nil, fmt.Errorf("the label %q stands in the path twice", name)
		}
		found[name] = value
	}
	if found["job"] == "" {
		return nil, errors.New("job name is required")
	}
	labels := make([]series.Label, 0, len(found)+1)
	for n, v := range found {
		labels = append(labels, series.Label{Name: n, Value: v})
	}
	series.Sort(labels)
	probe := append([]series.Label{{Name: series.NameLabel, Value: pushTime}}, labels...)
	for i := range probe {
		probe[i].Value = cmp.Or(probe[i].Value, "x") // the name must be one, though it is stored nowhere
	}
	if _, err := rules.Labels(probe); err != nil {
		return nil, err
	}
	return labels, nil
}

// labelOf decodes two components of the path.
func labelOf(name, value string) (string, string, error) {
	name, err := url.PathUnescape(name)
	if err != nil {
		return "", "", fmt.Errorf("improper label name %q", name)
	}
	plain, encoded := strings.CutSuffix(name, base64Suffix)
	if !utf8.ValidString(plain) || plain == "" || strings.HasPrefix(plain, model.ReservedLabelPrefix) {
		return "", "", fmt.Errorf("improper label name %q", plain)
	}
	if value, err = url.PathUnescape(value); err != nil {
		return "", "", fmt.Errorf("improper value of label %s: %q", plain, value)
	}
	if !encoded {
		return plain, value, nil
	}
	decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return "", "", fmt.Errorf("invalid base64 encoding for label %s=%q: %w", plain, value, err)
	}
	return plain, string(decoded), nil
}

// maxTTL is the longest time to live.
const maxTTL = 366 * 24 * time.Hour

// timeToLive reads a time to live, as 10m or 1d; 0 means for ever. given is false where there is none.
func timeToLive(header, query string) (ttl time.Duration, given bool, err error) {
	s := header
	if s == "" {
		s = query
	}
	if s == "" {
		return 0, false, nil
	}
	d, err := model.ParseDuration(s)
	if err != nil || time.Duration(d) > maxTTL || d != 0 && time.Duration(d) < time.Second {
		return 0, false, fmt.Errorf("the time to live %q is none: give a duration from 1s to 366d as 10m or 1d, or 0 for none", s)
	}
	return time.Duration(d), true, nil
}
