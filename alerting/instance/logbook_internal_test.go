package instance

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/alert"
)

func openLog(t *testing.T, entries ...alert.LogEntry) (*logbook, *[]alert.LogEntry) {
	t.Helper()
	var saved []alert.LogEntry
	b, err := newLogbook(entries, func(e alert.LogEntry) { saved = append(saved, e) }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b, &saved
}

func receiver() *nflogpb.Receiver {
	return &nflogpb.Receiver{GroupName: "team", Integration: "webhook", Idx: 2}
}

func query(t *testing.T, b *logbook) *nflogpb.Entry {
	t.Helper()
	entries, err := b.Query(nflog.QGroupKey("g"), nflog.QReceiver(receiver()))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	return entries[0]
}

func TestWhatIsLoggedIsSavedAndReadBack(t *testing.T) {
	b, saved := openLog(t)
	store := nflog.NewStore(nil)
	store.SetStr("thread_ts", "123")
	if err := b.Log(receiver(), "g", []uint64{1, 2}, []uint64{3}, store, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := b.Log(receiver(), "h", nil, []uint64{3}, nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	if len(*saved) != 2 {
		t.Fatalf("saved %v", *saved)
	}
	first, second := (*saved)[0], (*saved)[1]
	if first.GroupKey != "g" || first.Receiver != "team/webhook/2" || second.GroupKey != "h" {
		t.Errorf("saved %v", *saved)
	}
	if got := first.ExpiresAt.Sub(first.LoggedAt).Round(time.Minute); got != keepFiring {
		t.Errorf("what fires is remembered for %v", got)
	}
	if got := second.ExpiresAt.Sub(second.LoggedAt).Round(time.Minute); got != keepResolved {
		t.Errorf("what is resolved is remembered for %v", got)
	}
	again, _ := openLog(t, *saved...)
	e := query(t, again)
	if ts, _ := nflog.NewStore(e).GetStr("thread_ts"); ts != "123" || len(e.FiringAlerts) != 2 || len(e.ResolvedAlerts) != 1 {
		t.Errorf("read back %v", e)
	}
	if len(*saved) != 2 {
		t.Error("what was read was saved again")
	}
}

func TestOccurrencesAreToldApart(t *testing.T) {
	b, _ := openLog(t)
	key := flushKey{"g", "team"}
	end := b.begin(key, map[uint64]int64{1: 100, 2: 100, 3: 100})
	if err := b.Log(receiver(), "g", []uint64{1, 2, 9}, []uint64{3}, nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	end()
	f := func(starts map[uint64]int64, firing, resolved []uint64) {
		t.Helper()
		defer b.begin(key, starts)()
		e := query(t, b)
		if diff := cmp.Diff([][]uint64{firing, resolved}, [][]uint64{e.FiringAlerts, e.ResolvedAlerts}); diff != "" {
			t.Error(diff)
		}
	}
	f(nil, []uint64{1, 2, 9}, []uint64{3})
	f(map[uint64]int64{1: 100, 3: 100, 9: 7}, []uint64{1, 2, 9}, []uint64{3})
	f(map[uint64]int64{1: 200, 9: 7}, []uint64{2, 9}, []uint64{3})
	f(map[uint64]int64{2: 200, 3: 200}, []uint64{1, 9}, []uint64{})
	// What a later flush does not hold is remembered from before.
	end = b.begin(key, map[uint64]int64{1: 200})
	store := nflog.NewStore(query(t, b))
	if err := b.Log(receiver(), "g", []uint64{1, 2}, nil, store, time.Hour); err != nil {
		t.Fatal(err)
	}
	end()
	f(map[uint64]int64{1: 200, 2: 100}, []uint64{1, 2}, nil)
	f(map[uint64]int64{1: 100, 2: 200}, []uint64{}, nil)
}

func TestWhatCannotBeReadOfOccurrencesIsNothing(t *testing.T) {
	for _, text := range []string{"", "?", "AAAA"} {
		store := nflog.NewStore(nil)
		store.SetStr(occurrencesKey, text)
		if got := readOccurrences(store); len(got) > 0 {
			t.Errorf("%q: %v", text, got)
		}
	}
	store := nflog.NewStore(nil)
	writeOccurrences(store, map[uint64]int64{1: -5}, []uint64{1}, nil)
	if got := readOccurrences(store); got[1] != -5 {
		t.Errorf("%v", got)
	}
	writeOccurrences(store, nil, nil, []uint64{2})
	if _, ok := store.GetStr(occurrencesKey); ok {
		t.Error("what nobody asks for is kept")
	}
}

// The log's own names of alerts come from a stage of Alertmanager: were they not unique, alerts would be mixed up.
func TestHashesAreInOrder(t *testing.T) {
	var alerts []*amalert.Alert
	for _, name := range []string{"a", "b", "c", "d"} {
		a := &amalert.Alert{Alert: model.Alert{Labels: model.LabelSet{"alertname": model.LabelValue(name)}, StartsAt: time.Now()}}
		if name == "b" {
			a.EndsAt = time.Now().Add(-time.Minute)
		}
		alerts = append(alerts, a)
	}
	all := hashesOf(t.Context(), alerts)
	for i, a := range alerts {
		if one := hashesOf(t.Context(), []*amalert.Alert{a}); len(one) != 1 || one[0] != all[i] || one[0] == 0 {
			t.Errorf("%v alone is %v, in line %v", a, one, all[i])
		}
	}
	if alerts[1].EndsAt.IsZero() {
		t.Error("an alert was changed")
	}
}

func FuzzDecodeEntry(f *testing.F) {
	var good bytes.Buffer
	if _, err := protodelim.MarshalTo(&good, &nflogpb.MeshEntry{
		Entry:     &nflogpb.Entry{GroupKey: []byte("g"), Receiver: receiver(), Timestamp: timestamppb.Now(), FiringAlerts: []uint64{1}},
		ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
	}); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := newLogbook([]alert.LogEntry{{GroupKey: "g", Body: body}}, func(alert.LogEntry) {}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if m, err := decodeEntry(body); err == nil {
			current(m.Entry, map[uint64]int64{1: 1})
		}
		if err := b.Log(receiver(), "g", []uint64{1}, nil, nil, time.Hour); err != nil {
			t.Fatal(err)
		}
		b.GC()
	})
}
