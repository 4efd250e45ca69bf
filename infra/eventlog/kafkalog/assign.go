package kafkalog

import "slices"

// assign spreads n partitions over the members of a group as evenly as can be, and leaves with each what it holds, up to
// its share: a partition that moves costs its consumer the reloading of its state. held may name what nobody or several
// hold. Every member gets an entry.
func assign(n int, held map[string][]int) map[string][]int {
	members := make([]string, 0, len(held))
	for m := range held {
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b string) int {
		if d := len(held[b]) - len(held[a]); d != 0 {
			return d // who holds most may keep the odd one
		}
		if a < b {
			return -1
		}
		return 1
	})
	out := make(map[string][]int, len(members))
	taken := make([]bool, n)
	share := func(i int) int { // of the i-th member
		s := n / len(members)
		if i < n%len(members) {
			s++
		}
		return s
	}
	for i, m := range members {
		out[m] = []int{}
		for _, p := range held[m] {
			if p >= 0 && p < n && !taken[p] && len(out[m]) < share(i) {
				taken[p] = true
				out[m] = append(out[m], p)
			}
		}
	}
	next := 0
	for i, m := range members {
		for len(out[m]) < share(i) {
			for taken[next] {
				next++
			}
			taken[next] = true
			out[m] = append(out[m], next)
		}
		slices.Sort(out[m])
	}
	return out
}
