// Package redact takes secrets out of what a job prints: keys and tokens of known makers, JSON web tokens, private keys,
// credentials in URLs and headers, and the values of what is named password, token or the like.
//
// It works in one pass over the bytes. A byte that begins nothing known costs a look into a table; each rule is bounded
// or stops at the end of a run that no other match of it can begin in, so the time is linear in the length whatever is
// sent. What it finds it replaces by Mark; all else stays as it is, byte for byte.
//
// It knows forms, not secrets: a password in a sentence, or a token of an unknown maker that no name announces, is not
// recognised.
package redact

// Mark stands where a secret was.
const Mark = "[redacted]"

// Redactor finds secrets. Safe for concurrent use.
type Redactor struct {
	rules [256][]rule // by the first byte of their head
	names []string    // endings of names whose value is secret; see secretName
}

// rule recognises one form of secret.
type rule struct {
	head string
	// find returns the bounds of the secret in b, whose head is at i; from == to: it is none. cut says that b ended
	// before its time, so that what reaches its end may be the first half of a secret.
	find func(b []byte, i int, cut bool) (from, to int)
}

// New makes a Redactor.
func New() *Redactor {
	r := &Redactor{names: secretNames()}
	for _, one := range r.allRules() {
		first := one.head[0]
		r.rules[first] = append(r.rules[first], one)
	}
	return r
}

// Bytes returns b without its secrets, and how many there were; b itself, unchanged, if there were none. cut says that b
// is the beginning of something longer: then a secret at its end is recognised by its head alone.
func (r *Redactor) Bytes(b []byte, cut bool) ([]byte, int) {
	var out []byte
	n, kept := 0, 0 // b[:kept] is dealt with
	for i := 0; i < len(b); {
		rules := r.rules[b[i]]
		if rules == nil || i > 0 && alnum(b[i]) && alnum(b[i-1]) {
			i++ // no head begins so, or not within a word
			continue
		}
		from, to := match(rules, b, i, cut)
		if to <= from {
			i++
			continue
		}
		out = append(append(out, b[kept:from]...), Mark...)
		n++
		kept, i = to, to
	}
	if n == 0 {
		return b, 0
	}
	return append(out, b[kept:]...), n
}

func match(rules []rule, b []byte, i int, cut bool) (from, to int) {
	for _, one := range rules {
		if !hasPrefixAt(b, i, one.head) {
			continue
		}
		if from, to := one.find(b, i, cut); to > from {
			return from, to
		}
	}
	return 0, 0
}

func hasPrefixAt(b []byte, i int, s string) bool {
	return len(b)-i >= len(s) && string(b[i:i+len(s)]) == s
}
