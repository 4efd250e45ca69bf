package remotewrite

import (
	"fmt"
	"strings"

	"github.com/tokiflow/tokiflow/ingest/admit"
)

// named is how many of the faults an answer names.
const named = 10

// refusals are what was not taken of a request.
type refusals struct {
	texts   []string // the first
	count   int
	samples map[admit.Reason]int
}

// add notes a fault by which n samples were not taken.
func (r *refusals) add(reason admit.Reason, n int, text string) {
	if r.count++; len(r.texts) < named {
		r.texts = append(r.texts, text)
	}
	if r.samples == nil {
		r.samples = map[admit.Reason]int{}
	}
	r.samples[reason] += max(n, 1)
}

// String is the body of the answer.
func (r *refusals) String() string {
	s := strings.Join(r.texts, "\n") + "\n"
	if more := r.count - len(r.texts); more > 0 {
		s += fmt.Sprintf("and %d more\n", more)
	}
	return s
}
