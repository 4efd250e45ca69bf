package kafkalog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
)

func TestAssign(t *testing.T) {
	for name, tc := range map[string]struct {
		n    int
		held map[string][]int
		want map[string][]int
	}{
		"one":              {4, map[string][]int{"a": nil}, map[string][]int{"a": {0, 1, 2, 3}}},
		"two new":          {4, map[string][]int{"a": nil, "b": nil}, map[string][]int{"a": {0, 1}, "b": {2, 3}}},
		"one more":         {4, map[string][]int{"a": {0, 1, 2, 3}, "b": nil}, map[string][]int{"a": {0, 1}, "b": {2, 3}}},
		"one less":         {4, map[string][]int{"b": {2, 3}}, map[string][]int{"b": {0, 1, 2, 3}}},
		"odd stays":        {3, map[string][]int{"a": {0}, "b": {1, 2}}, map[string][]int{"a": {0}, "b": {1, 2}}},
		"more members":     {2, map[string][]int{"a": {0, 1}, "b": nil, "c": nil}, map[string][]int{"a": {0}, "b": {1}, "c": {}}},
		"both claim it":    {2, map[string][]int{"a": {0, 1}, "b": {0, 1}}, map[string][]int{"a": {0}, "b": {1}}},
		"held nonsense":    {2, map[string][]int{"a": {-1, 7, 1}}, map[string][]int{"a": {0, 1}}},
		"third of three":   {6, map[string][]int{"a": {0, 1, 2}, "b": {3, 4, 5}, "c": nil}, map[string][]int{"a": {0, 1}, "b": {3, 4}, "c": {2, 5}}},
		"the dead's share": {4, map[string][]int{"a": {0}, "b": {3}}, map[string][]int{"a": {0, 1}, "b": {2, 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, assign(tc.n, tc.held)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// However members come and go: every partition has one owner, shares differ by one at most, and no more moves than must.
func TestAssignAlways(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := 1 + r.IntN(20)
		held := map[string][]int{"m0": nil}
		for step := range 20 {
			before := held
			held = map[string][]int{}
			for m, ps := range before {
				if r.IntN(4) > 0 || len(before) == 1 {
					held[m] = ps
				}
			}
			for len(held) == 0 || r.IntN(2) == 0 {
				held[fmt.Sprintf("m%d.%d.%d", step, len(held), r.IntN(1000))] = nil
			}
			got := assign(n, held)
			owner := map[int]string{}
			least, most := n, 0
			for m := range held {
				ps, ok := got[m]
				if !ok {
					t.Fatalf("%s gets no answer", m)
				}
				least, most = min(least, len(ps)), max(most, len(ps))
				for _, p := range ps {
					if owner[p] != "" {
						t.Fatalf("%d has two owners", p)
					}
					owner[p] = m
				}
				kept := 0
				for _, p := range ps {
					if slices.Contains(held[m], p) {
						kept++
					}
				}
				if kept < min(len(held[m]), len(ps)) {
					t.Fatalf("%s held %v, gets %v", m, held[m], ps)
				}
			}
			if len(owner) != n || most-least > 1 {
				t.Fatalf("%d of %d partitions assigned, shares from %d to %d", len(owner), n, least, most)
			}
			held = got
		}
	}
}

// heartbeatError undoes a mistake of kafka-go v0.4.51. When this fails, kafka-go is mended: use Error, and delete it.
func TestHeartbeatFields(t *testing.T) {
	l := mustOpen(t, Options{Brokers: []string{fakeBroker(t)}, Topic: "heartbeat", Partitions: 1})
	res, err := l.client.Heartbeat(t.Context(), &kafka.HeartbeatRequest{GroupID: "g", GenerationID: 1, MemberID: "nobody"})
	if err != nil {
		t.Fatal(err)
	}
	if err := heartbeatError(res); !errors.Is(err, kafka.UnknownMemberId) && !errors.Is(err, kafka.GroupIdNotFound) {
		t.Errorf("the answer to a stranger's heartbeat is %+v: %v", res, err)
	}
	if res.Error != nil {
		t.Errorf("kafka-go gives the error itself now: %v", res.Error)
	}
}
