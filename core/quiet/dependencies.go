package quiet

import (
	"iter"
	"slices"

	"github.com/google/uuid"
)

// MostParents is how many monitors one may depend on.
const MostParents = 50

// Edges are what each monitor depends on: its parents.
type Edges map[uuid.UUID][]uuid.UUID

// Cycle is the cycle that a monitor would close by depending on those parents instead of what Edges say: from the monitor on, each
// depending on the next, the last one being the monitor again. nil: there is none.
func (e Edges) Cycle(monitor uuid.UUID, parents []uuid.UUID) []uuid.UUID {
	cameFrom := map[uuid.UUID]uuid.UUID{}
	queue := []uuid.UUID{}
	visit := func(from uuid.UUID, to []uuid.UUID) bool {
		for _, p := range to {
			if _, seen := cameFrom[p]; seen {
				continue
			}
			cameFrom[p] = from
			if p == monitor {
				return true
			}
			queue = append(queue, p)
		}
		return false
	}
	found := visit(monitor, parents)
	for i := 0; i < len(queue) && !found; i++ {
		found = visit(queue[i], e[queue[i]])
	}
	if !found {
		return nil
	}
	path := []uuid.UUID{monitor}
	for at := cameFrom[monitor]; at != monitor; at = cameFrom[at] {
		path = append(path, at)
	}
	path = append(path, monitor)
	slices.Reverse(path)
	return path
}

// Ancestors yields all that a monitor depends on, directly or not, the nearest first and each once. It ends where there is a cycle.
func (e Edges) Ancestors(monitor uuid.UUID) iter.Seq[uuid.UUID] {
	return func(yield func(uuid.UUID) bool) {
		seen := map[uuid.UUID]bool{monitor: true}
		queue := []uuid.UUID{monitor}
		for i := 0; i < len(queue); i++ {
			for _, p := range e[queue[i]] {
				if seen[p] {
					continue
				}
				seen[p] = true
				if !yield(p) {
					return
				}
				queue = append(queue, p)
			}
		}
	}
}
