package promapi

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// The bounds that clients of Prometheus send for "ever": client_golang's, too far out for a date of four digits.
const (
	earliest = "-292273086-05-16T16:47:06Z"
	latest   = "+292277025-08-18T07:12:54.999999999Z"
)

// parseTime reads seconds since 1970 or a date as RFC 3339 has it.
func parseTime(s string) (time.Time, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if math.IsNaN(f) {
			return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", s)
		}
		whole, rest := math.Modf(min(max(f, -farthest), farthest))
		rest = math.Round(rest*1000) / 1000
		return time.Unix(int64(whole), int64(rest*float64(time.Second))).UTC(), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		if t.Unix() > farthest || t.Unix() < -farthest {
			return time.Unix(min(max(t.Unix(), -farthest), farthest), 0).UTC(), nil
		}
		return t, nil
	}
	switch s {
	case earliest:
		return time.Unix(-farthest, 0).UTC(), nil
	case latest:
		return time.Unix(farthest, 0).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", s)
}

// farthest is how far from 1970 an instant may lie, in seconds: 290 years, so that its nanoseconds, and those of a time
// range before it, still fit. What lies beyond is taken for that.
const farthest = 290 * 365 * 24 * 60 * 60

// parseDuration reads seconds, or a duration as Prometheus has it (5m, 1h30m).
func parseDuration(s string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		ns := f * float64(time.Second)
		if math.IsNaN(ns) || ns >= math.MaxInt64 || ns < math.MinInt64 {
			return 0, fmt.Errorf("cannot parse %q to a valid duration. It overflows int64", s)
		}
		return time.Duration(ns), nil
	}
	if d, err := model.ParseDuration(s); err == nil {
		return time.Duration(d), nil
	}
	return 0, fmt.Errorf("cannot parse %q to a valid duration", s)
}

// timeOr is a parameter's instant, or the one given where the parameter is missing.
func timeOr(form url.Values, name string, otherwise time.Time) (time.Time, error) {
	v := form.Get(name)
	if v == "" {
		return otherwise, nil
	}
	t, err := parseTime(v)
	if err != nil {
		return time.Time{}, badParameter(name, fmt.Errorf("invalid time value for '%s': %w", name, err))
	}
	return t, nil
}

// limitOf is the parameter limit; 0 is none.
func limitOf(form url.Values) (int, error) {
	v := form.Get("limit")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err == nil && n < 0 {
		err = errors.New("limit must be non-negative")
	}
	if err != nil {
		return 0, badParameter("limit", err)
	}
	return n, nil
}

// hintOf asks for one more than the limit, so that it is known whether something was left out.
func hintOf(limit int) int {
	if limit > 0 && limit < math.MaxInt {
		return limit + 1
	}
	return limit
}

// matchersOf are the selectors of the parameter match[].
func (a *API) matchersOf(form url.Values) ([][]*labels.Matcher, error) {
	sets, err := a.parser.ParseMetricSelectors(form["match[]"])
	if err != nil {
		return nil, badData(err)
	}
	for _, set := range sets {
		if !narrows(set) {
			return nil, badData(errors.New("match[] must contain at least one non-empty matcher"))
		}
	}
	return sets, nil
}

// narrows reports whether a selector leaves out the series without labels.
func narrows(set []*labels.Matcher) bool {
	for _, m := range set {
		if m != nil && !m.Matches("") {
			return true
		}
	}
	return false
}
