package instance

import (
	"log/slog"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/eventrecorder"
	"github.com/prometheus/alertmanager/featurecontrol"
	"github.com/prometheus/alertmanager/provider/mem"
	"github.com/prometheus/common/model"

	"github.com/tokiflow/tokiflow/core/alert"
)

func routed(version int64, change func(*alert.Routed)) alert.Routed {
	r := alert.Routed{
		Fingerprint: "f", Version: version, Source: alert.FromIncident, Labels: map[string]string{"alertname": "A"},
		Annotations: map[string]string{"acknowledged_by": "nobody"}, StartsAt: time.Now().Add(-time.Hour),
	}
	if change != nil {
		change(&r)
	}
	return r
}

// provide gives the changes to Alertmanager's own provider and returns what it makes of them.
func provide(t *testing.T, b *book, p *mem.Alerts, r alert.Routed) *amalert.Alert {
	t.Helper()
	if err := p.Put(t.Context(), b.note([]alert.Routed{r}, time.Now())...); err != nil {
		t.Fatal(err)
	}
	a, err := p.Get(model.LabelSet{"alertname": "A"}.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func openProvider(t *testing.T) *mem.Alerts {
	t.Helper()
	p, err := mem.NewAlerts(t.Context(), time.Hour, 0, nil, slog.New(slog.DiscardHandler), eventrecorder.NopRecorder(), nowhere{}, featurecontrol.NoopFlags{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestTheLaterVersionWinsWhateverTheClocksSay(t *testing.T) {
	b, p := newBook(), openProvider(t)
	began := time.Now().Add(-time.Hour)
	start := func(r *alert.Routed) { r.StartsAt, r.UpdatedAt = began, time.Now().Add(time.Hour) }
	if a := provide(t, b, p, routed(1, start)); a.Resolved() || a.EndsAt.Before(time.Now().AddDate(40, 0, 0)) {
		t.Errorf("open: %v", a)
	}
	ahead := time.Now().Add(50 * time.Millisecond) // of another machine's clock
	if a := provide(t, b, p, routed(2, func(r *alert.Routed) { start(r); r.EndsAt = ahead })); !a.EndsAt.Equal(ahead) {
		t.Errorf("resolved: %v", a)
	}
	if a := provide(t, b, p, routed(1, start)); !a.EndsAt.Equal(ahead) {
		t.Errorf("an earlier version came to stand: %v", a)
	}
	if a := provide(t, b, p, routed(3, func(r *alert.Routed) { r.StartsAt = ahead })); a.Resolved() || !a.StartsAt.Equal(ahead) {
		t.Errorf("opened again: %v", a)
	}
	next := ahead.Add(time.Millisecond) // the end of it was not seen
	if a := provide(t, b, p, routed(4, func(r *alert.Routed) { r.StartsAt = next })); a.Resolved() || !a.StartsAt.Equal(next) {
		t.Errorf("opened once more: %v", a)
	}
}

func TestAcknowledgementsAreAnnotations(t *testing.T) {
	b := newBook()
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	out := b.note([]alert.Routed{routed(1, nil)}, at)
	if len(out) != 1 || len(out[0].Annotations) != 0 {
		t.Errorf("%v", out)
	}
	out = b.note([]alert.Routed{routed(2, func(r *alert.Routed) { r.AcknowledgedAt, r.AcknowledgedBy = at, "ann" })}, at)
	if a := out[len(out)-1].Annotations; a[alert.AnnotationAckBy] != "ann" || a[alert.AnnotationAckAt] != "2026-01-02T03:04:05Z" {
		t.Errorf("%v", a)
	}
}

func TestStampsRise(t *testing.T) {
	b := newBook()
	at := time.Now()
	one := b.note([]alert.Routed{routed(1, nil)}, at)[0]
	two := b.note([]alert.Routed{routed(2, nil)}, at.Add(-time.Hour))
	if !two[len(two)-1].UpdatedAt.After(one.UpdatedAt) {
		t.Errorf("%v is not after %v", two, one)
	}
	given, more := b.between(time.Time{}, at)
	if len(given) != 0 || !more {
		t.Errorf("%v %v", given, more)
	}
	if given, more = b.between(at, at.Add(time.Minute)); len(given) != 1 || more {
		t.Errorf("%v %v", given, more)
	}
}

func TestAnAlertIsDoneWithWhenAllRoutesAre(t *testing.T) {
	b := newBook()
	b.note([]alert.Routed{routed(7, nil)}, time.Now())
	fp := model.LabelSet{"alertname": "A"}.Fingerprint()
	routes := map[string]struct{}{"{}/0": {}, "{}/1": {}}
	f := func(version int64, route string, want bool) {
		t.Helper()
		key, done := b.handled(fp, version, route, routes)
		if done != want || done && key != (alert.Key{Fingerprint: "f", Version: 7}) {
			t.Errorf("%v %v", key, done)
		}
	}
	f(7, "{}/0", false)
	f(7, "{}/0", false)
	f(6, "{}/1", false)
	b.rerouted()
	f(7, "{}/1", false)
	f(7, "{}/0", true)
	f(7, "{}/0", false)
	if b.size() != 0 {
		t.Error("it is not forgotten")
	}
}

func TestErrorsOfOthersAreLowered(t *testing.T) {
	var levels []slog.Level
	h := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if l, ok := a.Value.Any().(slog.Level); ok {
			levels = append(levels, l)
		}
		return a
	}}))
	quiet(h).With("a", 1).WithGroup("g").Error("x")
	calm(h).Error("x")
	calm(h).Info("x")
	if len(levels) != 3 || levels[0] != slog.LevelDebug || levels[1] != slog.LevelWarn || levels[2] != slog.LevelInfo {
		t.Errorf("%v", levels)
	}
}
