package schedule

import (
	"fmt"
	"strings"
)

// maxExpression is the length in bytes up to which an expression is read. All values of all fields written out take 430.
const maxExpression = 1000

// field is what one of the five fields of an expression allows.
type field struct {
	name     string
	min, max int
	open     int      // where a/n ends
	names    []string // names[i] stands for min+i
	allowed  string   // for error messages
}

func fields() [5]field {
	return [5]field{
		{name: "minute", min: 0, max: 59, open: 59, allowed: "0 to 59"},
		{name: "hour", min: 0, max: 23, open: 23, allowed: "0 to 23"},
		{name: "day of month", min: 1, max: 31, open: 31, allowed: "1 to 31, L for the last day"},
		{
			name: "month", min: 1, max: 12, open: 12, allowed: "1 to 12, jan to dec",
			names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"},
		},
		{
			// a/n ends on Saturday, as where people know it from (Kubernetes): 1/2 is mon, wed, fri and not also sun.
			name: "day of week", min: 0, max: 7, open: 6,
			allowed: "0 to 7 (0 and 7: Sunday), sun to sat, 5L for the last Friday, 5#2 for the second",
			names:   []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"},
		},
	}
}

// The indexes of the fields in which L and # may stand.
const (
	dayOfMonth = 2
	dayOfWeek  = 4
)

// set is what a field was parsed to.
type set struct {
	star bool     // the text begins with *
	bits uint64   // bit v: the value v
	last uint8    // day of month: 1 for L; day of week: bit v for vL
	nth  [5]uint8 // day of week: bit v of nth[k-1] for v#k
}

// parse reads a cron expression. The error is an *Error.
func parse(text string) (expression, error) {
	if len(text) > maxExpression {
		return expression{}, &Error{
			Field: "cron", Position: maxExpression + 1,
			Reason: fmt.Sprintf("the expression has %d characters; allowed: %d", len(text), maxExpression),
		}
	}
	words, at := split(text)
	if len(words) > 0 && words[0][0] == '@' {
		return parseMacro(words, at)
	}
	if len(words) > 0 && strings.Contains(words[0], "TZ=") {
		return expression{}, &Error{Field: "cron", Position: at[0], Reason: "the time zone stands in timezone, not in the expression"}
	}
	if len(words) < 5 {
		return expression{}, &Error{Field: "cron", Position: len(text) + 1, Reason: fmt.Sprintf(
			"%d of 5 fields are there; wanted: minute, hour, day of month, month, day of week", len(words))}
	}
	if len(words) > 5 {
		return expression{}, &Error{
			Field: "cron", Position: at[5],
			Reason: "nothing may follow the fifth field: no seconds, no year, no command",
		}
	}
	var sets [5]set
	for i, f := range fields() {
		p := parser{field: f, index: i, text: words[i], base: at[i]}
		if err := p.list(); err != nil {
			return expression{}, err
		}
		sets[i] = p.set
	}
	return newExpression(sets), nil
}

// split cuts text at spaces and tabs; at holds where each word begins, from 1.
func split(text string) (words []string, at []int) {
	start := -1
	for i := range len(text) + 1 {
		blank := i == len(text) || text[i] == ' ' || text[i] == '\t'
		switch {
		case blank && start >= 0:
			words, at = append(words, text[start:i]), append(at, start+1)
			start = -1
		case !blank && start < 0:
			start = i
		}
	}
	return words, at
}

func parseMacro(words []string, at []int) (expression, error) {
	fail := func(i int, reason string) (expression, error) {
		return expression{}, &Error{Field: "cron", Position: at[i], Reason: reason}
	}
	name := strings.ToLower(words[0])
	if len(words) > 1 && name != "@every" {
		return fail(1, fmt.Sprintf("nothing may follow %.20q", words[0]))
	}
	switch name {
	case "@hourly":
		return parse("0 * * * *")
	case "@daily", "@midnight":
		return parse("0 0 * * *")
	case "@weekly":
		return parse("0 0 * * 0")
	case "@monthly":
		return parse("0 0 1 * *")
	case "@yearly", "@annually":
		return parse("0 0 1 1 *")
	case "@reboot":
		return fail(0, "@reboot cannot be watched: nobody knows when the next one is due")
	case "@every":
		return fail(0, "@every is not cron; give interval instead of cron")
	}
	return fail(0, fmt.Sprintf("%.20q is not known; allowed: @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually", words[0]))
}

// parser reads one field.
type parser struct {
	field
	index int    // of the field
	text  string // of the field; never empty
	base  int    // position of text in the expression, from 1
	i     int    // next byte of text
	set   set
}

func (p *parser) failAt(i int, format string, args ...any) error {
	return &Error{Field: "cron", Position: p.base + i, Reason: p.name + ": " + fmt.Sprintf(format, args...)}
}

// peek is the next byte, lower case; 0 at the end.
func (p *parser) peek() byte {
	if p.i == len(p.text) {
		return 0
	}
	return lower(p.text[p.i])
}

// take consumes the next byte if it is c, in lower case.
func (p *parser) take(c byte) bool {
	if p.i == len(p.text) || p.peek() != c {
		return false
	}
	p.i++
	return true
}

func (p *parser) list() error {
	p.set.star = p.text[0] == '*'
	for {
		if err := p.part(); err != nil {
			return err
		}
		if p.i == len(p.text) {
			return nil
		}
		if !p.take(',') {
			return p.unexpected()
		}
	}
}

// part reads one element of the list.
func (p *parser) part() error {
	if p.take('*') {
		return p.span(p.min, p.max)
	}
	if p.index == dayOfMonth && p.take('l') {
		p.set.last = 1
		return nil
	}
	start := p.i
	v, err := p.value()
	if err != nil {
		return err
	}
	switch {
	case p.take('-'):
		to, err := p.value()
		if err != nil {
			return err
		}
		if to < v {
			return p.failAt(start, "the range %s runs backwards; write it as two, parted by a comma", p.text[start:p.i])
		}
		return p.span(v, to)
	case p.peek() == '/':
		return p.span(v, max(v, p.open))
	case p.index == dayOfWeek && p.take('l'):
		p.set.last |= 1 << (v % 7)
	case p.index == dayOfWeek && p.take('#'):
		at := p.i
		if n := p.digits(); n >= 1 && n <= len(p.set.nth) {
			p.set.nth[n-1] |= 1 << (v % 7)
			return nil
		}
		return p.failAt(at, "after # stands which of the month's it is; allowed: 1 to %d", len(p.set.nth))
	default:
		p.set.bits |= 1 << v
	}
	return nil
}

// span sets from to to, in steps where a step follows.
func (p *parser) span(from, to int) error {
	step := 1
	if p.take('/') {
		at := p.i
		if step = p.digits(); step < 1 {
			return p.failAt(at, "after / stands the step, a whole number from 1")
		}
	}
	for v := from; v <= to; v += step {
		p.set.bits |= 1 << v
	}
	return nil
}

// value reads a number or a name.
func (p *parser) value() (int, error) {
	start := p.i
	if v := p.digits(); v >= 0 {
		if v < p.min || v > p.max {
			return 0, p.failAt(start, "%.20s is out of range; allowed: %s", p.text[start:p.i], p.allowed)
		}
		return v, nil
	}
	for i, name := range p.names {
		if len(p.text)-start >= len(name) && strings.EqualFold(p.text[start:start+len(name)], name) {
			p.i += len(name)
			return p.min + i, nil
		}
	}
	return 0, p.unexpected()
}

// digits reads an unsigned number; -1 where there is none. Numbers too large to matter are all the same.
func (p *parser) digits() int {
	v := -1
	for ; p.i < len(p.text) && p.text[p.i] >= '0' && p.text[p.i] <= '9'; p.i++ {
		v = min(max(v, 0)*10+int(p.text[p.i]-'0'), 1000)
	}
	return v
}

// unexpected is the error for the byte at p.i, or for the end of the text.
func (p *parser) unexpected() error {
	switch p.peek() {
	case 0, ',':
		return p.failAt(p.i, "a value is missing; allowed: %s", p.allowed)
	case '?':
		return p.failAt(p.i, "? is not supported; write *")
	case '~':
		return p.failAt(p.i, "random times (~) cannot be watched; write the time itself")
	case 'h':
		return p.failAt(p.i, "H cannot be watched: it stands for a time only Jenkins knows; write the time itself")
	case 'w':
		if p.index == dayOfMonth {
			return p.failAt(p.i, "W (the nearest weekday) is not supported; allowed: %s", p.allowed)
		}
	case 'l':
		if p.index == dayOfWeek {
			return p.failAt(p.i, "L needs a day before it, as 5L; allowed: %s", p.allowed)
		}
	}
	rest := []rune(p.text[p.i:])
	return p.failAt(p.i, "unexpected %q; allowed: %s; lists 1,2, ranges 1-5, steps */2", string(rest[0]), p.allowed)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
