package admit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/ingest/admit"
)

// What the writer behind the log refuses must be refused before it is answered: else it is lost. The numbers are those of
// tsdb/samples (maxName, MaxAge).
func TestWhatWouldBeDroppedLaterIsRefused(t *testing.T) {
	r := admit.Rules{}.WithDefaults()
	for n, want := range map[int]bool{1024: true, 1025: false, 2048: false} {
		_, err := r.Labels([]series.Label{{Name: "__name__", Value: strings.Repeat("x", n)}})
		if (err == nil) != want {
			t.Errorf("a name of %d bytes: %v", n, err)
		}
	}
	if _, err := r.Labels([]series.Label{{Name: "__name__", Value: "x"}, {Name: "a", Value: strings.Repeat("x", 2048)}}); err != nil {
		t.Error(err)
	}
	if r.Metadata(&series.Metadata{Name: strings.Repeat("x", 1025)}) {
		t.Error("a description whose metric cannot be stored was taken")
	}
	now := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	if text := r.Time(now.Add(-400*24*time.Hour).UnixMilli(), now); text == "" {
		t.Error("a sample of 400 days ago was taken")
	}
	if text := r.Time(now.Add(-399*24*time.Hour).UnixMilli(), now); text != "" {
		t.Error(text)
	}
}
