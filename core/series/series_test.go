package series

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/tenant"
)

func org() tenant.OrgID {
	return tenant.OrgID{UUID: uuid.MustParse("11111111-2222-3333-4444-555555555555")}
}

func labels(pairs ...string) []Label {
	var l []Label
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return l
}

func TestSort(t *testing.T) {
	l := labels("b", "1", "__name__", "up", "B", "2", "a", "3")
	Sort(l)
	if got, want := fmt.Sprint(l), "[{B 2} {__name__ up} {a 3} {b 1}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestHashNeverChanges: samples' partitions on disk and in Kafka rest on it.
func TestHashNeverChanges(t *testing.T) {
	for _, c := range []struct {
		org    tenant.OrgID
		labels []Label
		want   uint64
	}{
		{tenant.OrgID{}, nil, 0xa5e0dba6c385580a},
		{org(), labels("__name__", "up"), 0x2c1d84641b56ea56},
		{org(), labels("__name__", "up", "job", "ünï"), 0x13647cd8b78967b8},
	} {
		if got := Hash(c.org, c.labels); got != c.want {
			t.Errorf("%v %v: %#x, want %#x", c.org, c.labels, got, c.want)
		}
	}
}

// TestHashTellsApart: where one string ends and the next begins matters, and whose series it is.
func TestHashTellsApart(t *testing.T) {
	seen := map[uint64]string{}
	for _, o := range []tenant.OrgID{{}, org()} {
		for _, l := range [][]Label{labels("a", "bc"), labels("ab", "c"), labels("abc", ""), labels("", "abc"), labels("a", "b", "c", ""), labels("a", "", "b", "c")} {
			h := Hash(o, l)
			if other, ok := seen[h]; ok {
				t.Errorf("%v of %v has the hash of %s", l, o, other)
			}
			seen[h] = fmt.Sprint(o, l)
		}
	}
}

func TestPartitionsAreFilledEvenly(t *testing.T) {
	const n, series = 12, 60000
	var count [n]int
	for i := range series {
		count[Partition(org(), labels("__name__", "node_cpu_seconds_total", "cpu", fmt.Sprint(i%64), "instance", fmt.Sprint(i/64)), n)]++
	}
	for p, got := range count {
		if got < series/n*9/10 || got > series/n*11/10 {
			t.Errorf("partition %d of %d has %d of %d series", p, n, got, series)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	l := labels("__name__", "node_cpu_seconds_total", "cluster", "eu-west-1", "cpu", "12", "instance", "node-001.example.com:9100", "job", "node", "mode", "idle")
	for b.Loop() {
		Hash(org(), l)
	}
}
