package quiet_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/quiet"
)

func id(letter byte) uuid.UUID { return uuid.UUID{letter} }

// edges reads "a>b b>cd": a depends on b, b on c and d.
func edges(text string) quiet.Edges {
	e := quiet.Edges{}
	for word := range strings.FieldsSeq(text) {
		from, to, _ := strings.Cut(word, ">")
		e[id(from[0])] = ids(to)
	}
	return e
}

func ids(letters string) []uuid.UUID {
	var out []uuid.UUID
	for i := range len(letters) {
		out = append(out, id(letters[i]))
	}
	return out
}

func letters(list []uuid.UUID) string {
	var b strings.Builder
	for _, id := range list {
		b.WriteByte(id[0])
	}
	return b.String()
}

func TestCycle(t *testing.T) {
	for _, c := range []struct{ edges, monitor, parents, want string }{
		{"", "a", "b", ""},
		{"", "a", "", ""},
		{"", "a", "a", "aa"},
		{"b>a", "a", "b", "aba"},
		{"b>c c>d d>a", "a", "xb", "abcda"},
		{"b>c c>d d>a e>a", "a", "be", "aea"}, // the shortest
		{"a>b b>c", "a", "c", ""},             // what it depends on now does not count
		{"a>b b>c", "c", "d", ""},
		{"a>bc b>d c>d", "d", "e", ""}, // a diamond is no cycle
		{"a>bc b>d c>d", "d", "a", "dabd"},
	} {
		if got := letters(edges(c.edges).Cycle(id(c.monitor[0]), ids(c.parents))); got != c.want {
			t.Errorf("%s, %s>%s: %q, want %q", c.edges, c.monitor, c.parents, got, c.want)
		}
	}
}

func TestAncestors(t *testing.T) {
	for _, c := range []struct{ edges, want string }{
		{"", ""}, {"a>b", "b"}, {"a>bc b>d c>de d>f", "bcdef"}, {"a>b b>a", "b"}, {"b>a", ""},
	} {
		if got := letters(slices.Collect(edges(c.edges).Ancestors(id('a')))); got != c.want {
			t.Errorf("%s: %q, want %q", c.edges, got, c.want)
		}
	}
	for range edges("a>bc").Ancestors(id('a')) {
		break // it may end early
	}
}

// What Cycle lets pass never makes a cycle, and what it refuses would.
func TestEdgesNeverCloseACycle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	e := quiet.Edges{}
	refused := 0
	for range 3000 {
		m := id(byte('a' + rng.IntN(12)))
		var parents []uuid.UUID
		for range rng.IntN(4) {
			parents = append(parents, id(byte('a'+rng.IntN(12))))
		}
		cycle := e.Cycle(m, parents)
		if cycle == nil {
			e[m] = parents
			for child := range e {
				if slices.Contains(slices.Collect(ancestorsOfParents(e, child)), child) {
					t.Fatalf("%c depends on itself", child[0])
				}
			}
			continue
		}
		refused++
		if cycle[0] != m || cycle[len(cycle)-1] != m || !slices.Contains(parents, cycle[1]) {
			t.Fatalf("the cycle %s of %c>%s", letters(cycle), m[0], letters(parents))
		}
		for i := 1; i+1 < len(cycle); i++ {
			if !slices.Contains(e[cycle[i]], cycle[i+1]) {
				t.Fatalf("%c does not depend on %c", cycle[i][0], cycle[i+1][0])
			}
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
}

func ancestorsOfParents(e quiet.Edges, child uuid.UUID) func(func(uuid.UUID) bool) {
	return func(yield func(uuid.UUID) bool) {
		for _, p := range e[child] {
			if !yield(p) {
				return
			}
			for a := range e.Ancestors(p) {
				if !yield(a) {
					return
				}
			}
		}
	}
}
