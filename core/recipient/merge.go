package recipient

import (
	"slices"
	"time"
)

// Merge adds what came later to what is held: of each occurrence of an alert the last known. Of more than MaxAlerts the later ones are
// left out; more is how many.
func Merge(held, later []Alert) (merged []Alert, more int) {
	type occurrence struct {
		fingerprint string
		startsAt    time.Time
	}
	at := make(map[occurrence]int, len(held)+len(later))
	for _, a := range append(slices.Clip(held), later...) {
		key := occurrence{a.Fingerprint, a.StartsAt.UTC()}
		if i, ok := at[key]; ok {
			merged[i] = a
			continue
		}
		if len(merged) >= MaxAlerts {
			more++
			continue
		}
		at[key] = len(merged)
		merged = append(merged, a)
	}
	return merged, more
}
