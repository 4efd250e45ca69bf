package instance

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/alert"
)

// openYears is how far ahead an alert ends for which nobody gave an end. So far that a machine which slept for a month resolves nothing.
const openYears = 50

// book is what an instance knows of the alerts in the table, by fingerprint. Safe for concurrent use.
type book struct {
	mu      sync.RWMutex
	entries map[model.Fingerprint]*entry
	last    time.Time // UpdatedAt of the alert made last
}

// entry is an alert of the table as it was seen last.
type entry struct {
	alert.Routed
	put     *amalert.Alert      // as it went into Alertmanager
	handled map[string]struct{} // ids of the routes that dealt with its resolution
}

// newBook returns an empty book.
func newBook() *book { return &book{entries: map[model.Fingerprint]*entry{}} }

// note takes in alerts and returns what Alertmanager must be given, in order. What is known by version is passed over. Where a later
// occurrence takes the place of one that still fires here, the earlier ends first: Alertmanager would make one of the two.
func (b *book) note(changed []alert.Routed, now time.Time) []*amalert.Alert {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]*amalert.Alert, 0, len(changed))
	for _, r := range changed {
		labels := labelSet(r.Labels)
		fp := labels.Fingerprint()
		known, ok := b.entries[fp]
		if ok && known.Version >= r.Version {
			continue
		}
		if ok && r.Source != alert.FromAPI && r.StartsAt.After(known.StartsAt) && !known.put.ResolvedAt(r.StartsAt) {
			ended := *known.put
			ended.EndsAt, ended.Timeout, ended.UpdatedAt = r.StartsAt, false, b.stamp(now)
			out = append(out, &ended)
		}
		e := &entry{Routed: r, put: toAlert(r, labels, b.stamp(now))}
		b.entries[fp] = e
		out = append(out, e.put)
	}
	return out
}

// stamp returns an instant later than every one before, so that of two versions of an alert the later one always counts as such,
// whatever other machines' clocks say. The lock is held.
func (b *book) stamp(now time.Time) time.Time {
	if !now.After(b.last) {
		now = b.last.Add(time.Nanosecond)
	}
	b.last = now
	return now
}

// now returns an instant for an alert that is taken in now.
func (b *book) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stamp(time.Now())
}

// get returns a copy of what is known of an alert.
func (b *book) get(fp model.Fingerprint) (entry, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e, ok := b.entries[fp]
	if !ok {
		return entry{}, false
	}
	return *e, true
}

// all returns what Alertmanager was given of every alert.
func (b *book) all() []*amalert.Alert {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]*amalert.Alert, 0, len(b.entries))
	for _, e := range b.entries {
		out = append(out, e.put)
	}
	return out
}

// between returns what Alertmanager was given after the one instant, up to the other, and whether there is more.
func (b *book) between(from, to time.Time) (given []*amalert.Alert, more bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, e := range b.entries {
		if e.put.UpdatedAt.After(from) && !e.put.UpdatedAt.After(to) {
			given = append(given, e.put)
		}
	}
	return given, b.last.After(to)
}

// handled notes that the route has dealt with the resolution of this very version. When it was the last of the routes, the alert is
// forgotten and its key returned.
func (b *book) handled(fp model.Fingerprint, version int64, route string, routes map[string]struct{}) (alert.Key, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[fp]
	if !ok || e.Version != version {
		return alert.Key{}, false
	}
	if e.handled == nil {
		e.handled = make(map[string]struct{}, len(routes))
	}
	e.handled[route] = struct{}{}
	for id := range routes {
		if _, ok := e.handled[id]; !ok {
			return alert.Key{}, false
		}
	}
	delete(b.entries, fp)
	return alert.Key{Fingerprint: e.Fingerprint, Version: e.Version}, true
}

// rerouted forgets which routes dealt with what: there are others now.
func (b *book) rerouted() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.entries {
		e.handled = nil
	}
}

// prune forgets what was resolved before the instant.
func (b *book) prune(before time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.entries, func(_ model.Fingerprint, e *entry) bool { return e.put.ResolvedAt(before) })
}

// fingerprints returns those of all alerts known.
func (b *book) fingerprints() model.Fingerprints {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Collect(maps.Keys(b.entries))
}

// size returns how many alerts are known.
func (b *book) size() int {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.entries)
}

// room says whether posted alerts can be taken in with those that are known: again those that are is always possible.
func (b *book) room(posted map[model.Fingerprint]*amalert.Alert) error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	count, texts, more := len(b.entries), 0, 0
	for _, e := range b.entries {
		texts += textsOf(e.put)
	}
	for fp, a := range posted {
		texts, more = texts+textsOf(a), more+textsOf(a)
		if e, ok := b.entries[fp]; ok {
			texts, more = texts-textsOf(e.put), more-textsOf(e.put)
		} else {
			count++
		}
	}
	switch {
	case count > len(b.entries) && count > maxAlerts:
		return fmt.Errorf("there are too many alerts: at most %d at a time", maxAlerts)
	case more > 0 && texts > maxPostedWeight:
		return fmt.Errorf("the labels and annotations of all alerts are too long: at most %d bytes together", maxPostedWeight)
	}
	return nil
}

// toAlert gives an alert as Alertmanager is to have it. One without an end counts as one whose end is assumed: otherwise the end
// in fifty years would win over a resolution by a clock that is a moment ahead.
func toAlert(r alert.Routed, labels model.LabelSet, updated time.Time) *amalert.Alert {
	a := &amalert.Alert{
		Alert: model.Alert{
			Labels: labels, Annotations: labelSet(r.Annotations), StartsAt: r.StartsAt, EndsAt: r.EndsAt, GeneratorURL: r.GeneratorURL,
		},
		UpdatedAt: updated, Timeout: r.Timeout,
	}
	if r.EndsAt.IsZero() {
		a.EndsAt, a.Timeout = r.StartsAt.AddDate(openYears, 0, 0), true
	}
	delete(a.Annotations, alert.AnnotationAckBy)
	delete(a.Annotations, alert.AnnotationAckAt)
	if !r.AcknowledgedAt.IsZero() {
		a.Annotations[alert.AnnotationAckBy] = model.LabelValue(r.AcknowledgedBy)
		a.Annotations[alert.AnnotationAckAt] = model.LabelValue(r.AcknowledgedAt.UTC().Format(time.RFC3339))
	}
	return a
}

// shown gives an alert as the API shows it: one without an end is shown to end when it would if nobody said anything any more, as
// Alertmanager shows it.
func shown(a *amalert.Alert, now time.Time, resolveTimeout time.Duration) *amalert.Alert {
	if a.EndsAt.Sub(a.StartsAt) < openYears*364*24*time.Hour {
		return a
	}
	copied := *a
	copied.EndsAt = now.Add(resolveTimeout)
	return &copied
}

func labelSet(in map[string]string) model.LabelSet {
	out := make(model.LabelSet, len(in))
	for k, v := range in {
		out[model.LabelName(k)] = model.LabelValue(v)
	}
	return out
}

func plain(in model.LabelSet) map[string]string {
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[string(k)] = string(v)
	}
	return out
}
