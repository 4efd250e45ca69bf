package monitor

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/schedule"
)

// Config is what a person says of a monitor. Its JSON is the API's, the database's and the control record's.
type Config struct {
	Name     string            `json:"name"`
	Slug     string            `json:"slug"`
	Tags     []string          `json:"tags"`
	Labels   map[string]string `json:"labels"`
	Schedule schedule.Spec     `json:"schedule"`
	Grace    model.Duration    `json:"grace"`
	// Early is how long before a cron due moment a ping already counts for it.
	Early model.Duration `json:"early"`
	// MaxRuntime is how long a run may stay open; 0: for ever.
	MaxRuntime model.Duration `json:"max_runtime"`
	// FailureTolerance is how many failures in a row are borne before the incident `fail` opens.
	FailureTolerance int `json:"failure_tolerance"`
	// ManualResume makes a paused monitor ignore pings instead of being resumed by them.
	ManualResume bool `json:"manual_resume"`
	// LateIncidents opens an incident `late` from due to deadline.
	LateIncidents bool    `json:"late_incidents"`
	Anomaly       Anomaly `json:"anomaly"`
}

// Anomaly tunes when a run's duration is unusual.
type Anomaly struct {
	Enabled bool `json:"enabled"`
	// ZScore is how many standard deviations from the mean, either way, are too many.
	ZScore float64 `json:"z_score"`
	// MinRuns is how many durations must be known before any is judged.
	MinRuns int `json:"min_runs"`
	// MinDeviation is the least distance from the mean that can be an anomaly.
	MinDeviation model.Duration `json:"min_deviation"`
}

// DefaultConfig is what a monitor has where the person said nothing. The schedule has no default.
func DefaultConfig() Config {
	return Config{
		Tags:    []string{},
		Labels:  map[string]string{},
		Grace:   model.Duration(5 * time.Minute),
		Anomaly: Anomaly{Enabled: true, ZScore: 3, MinRuns: 10, MinDeviation: model.Duration(time.Second)},
	}
}

// The bounds of a configuration. Durations above maxSpan would overflow sums of times far from now.
const (
	maxSpan         = 1000 * 24 * time.Hour
	maxNameLen      = 200
	maxSlugLen      = 100
	maxTags         = 50
	maxLabels       = 50
	maxLabelLen     = 500
	maxTolerance    = 1000
	maxBaselineRuns = 1_000_000
)

// Validate names every fault of the configuration; nil: there is none.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &FieldError{Field: field, Reason: fmt.Sprintf(format, args...)})
	}
	if c.Name == "" || len(c.Name) > maxNameLen {
		bad("name", "must have 1 to %d bytes", maxNameLen)
	}
	if c.Slug != "" && !ValidSlug(c.Slug) {
		bad("slug", "must have up to %d of the characters a-z, 0-9, - and _", maxSlugLen)
	}
	if _, err := c.Schedule.Compile(); err != nil {
		bad("schedule", "%v", err)
	}
	span := func(field string, d model.Duration) {
		if d < 0 || time.Duration(d) > maxSpan {
			bad(field, "must be from 0s to 1000d")
		}
	}
	span("grace", c.Grace)
	span("early", c.Early)
	span("max_runtime", c.MaxRuntime)
	span("anomaly.min_deviation", c.Anomaly.MinDeviation)
	if c.FailureTolerance < 0 || c.FailureTolerance > maxTolerance {
		bad("failure_tolerance", "must be from 0 to %d", maxTolerance)
	}
	if z := c.Anomaly.ZScore; !(z > 0) || math.IsInf(z, 0) {
		bad("anomaly.z_score", "must be greater than 0")
	}
	if c.Anomaly.MinRuns < 2 || c.Anomaly.MinRuns > maxBaselineRuns {
		bad("anomaly.min_runs", "must be from 2 to %d", maxBaselineRuns)
	}
	if len(c.Tags) > maxTags {
		bad("tags", "must be at most %d", maxTags)
	}
	for _, t := range c.Tags {
		if t == "" || len(t) > maxLabelLen {
			bad("tags", "each must have 1 to %d bytes", maxLabelLen)
			break
		}
	}
	if len(c.Labels) > maxLabels {
		bad("labels", "must be at most %d", maxLabels)
	}
	for k, v := range c.Labels {
		if !model.LegacyValidation.IsValidLabelName(k) || k == "monitor" || len(v) > maxLabelLen {
			bad("labels", "%q: a name has letters, digits and _, does not begin with a digit and is not \"monitor\"; a value has at most %d bytes", k, maxLabelLen)
			break
		}
	}
	return errors.Join(errs...)
}

// FieldError is one fault of a configuration, named by its JSON path.
type FieldError struct{ Field, Reason string }

func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }

// ValidSlug reports whether s may stand in a ping URL as a slug.
func ValidSlug(s string) bool {
	if s == "" || len(s) > maxSlugLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
