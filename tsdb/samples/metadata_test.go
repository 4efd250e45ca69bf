package samples_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/tsdb/samples"
)

func TestWriterDescribesMetrics(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	l := newTopic()
	meta := func(o byte, m ...series.Metadata) { l.add(record.AppendSamples(nil, org(o), nil, m)) }
	meta(1, series.Metadata{Name: "up", Type: "gauge", Help: "old"}, series.Metadata{Name: "a", Type: "counter", Unit: "bytes"})
	meta(2, series.Metadata{Name: "up", Type: "unknown", Help: "another's \x00"})
	meta(1, series.Metadata{Name: "up", Type: "gauge", Help: "new"}, series.Metadata{Name: ""}, series.Metadata{Name: strings.Repeat("n", 1025)})
	feed(t, newWriter(pool), l)
	store := samples.NewStore(pool, samples.Options{})
	f := func(o byte, metric string, limit int, want ...series.Metadata) {
		t.Helper()
		got, err := store.Metadata(ctxFor(t), org(o), metric, limit)
		if err != nil {
			t.Fatal(err)
		}
		all := map[string][]series.Metadata{}
		for _, m := range want {
			all[m.Name] = append(all[m.Name], m)
		}
		if d := cmp.Diff(all, got); d != "" {
			t.Errorf("Metadata(%d, %q, %d):\n%s", o, metric, limit, d)
		}
	}
	a, upNew := series.Metadata{Name: "a", Type: "counter", Unit: "bytes"}, series.Metadata{Name: "up", Type: "gauge", Help: "new"}
	f(1, "", 0, a, upNew)
	f(1, "", 1, a)
	f(1, "up", 0, upNew)
	f(1, "up' or true --", 0)
	f(1, "up\x00", 0)
	f(1, "\xff", 0)
	f(2, "", 9, series.Metadata{Name: "up", Type: "unknown", Help: "another's \uFFFD"})
	f(3, "", 0)
}
