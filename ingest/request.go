package ingest

import (
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

// Where the endpoints are.
const (
	pingPrefix    = "/ping/"
	apiPingPrefix = "/api/ping/"
	batchPath     = "/api/v1/pings"
)

// maxSeconds is the longest duration a client may give: over 30 years.
const maxSeconds = 1_000_000_000

// maxExit is the highest exit status.
const maxExit = 255

// request is what a ping's URL says.
type request struct {
	key     uuid.UUID // the ping key, where project is ""
	project string    // the project key of a slug URL
	slug    string
	kind    record.PingKind
	exit    int16 // record.NoExitCode: none

	rid      uuid.UUID     // uuid.Nil: none
	duration time.Duration // record.NoDuration: none
	create   bool
}

// parseURL takes the path and the query of a ping apart. The result is resultOK where they are well-formed.
func parseURL(path, query string) (request, result) {
	q := request{exit: record.NoExitCode, duration: record.NoDuration}
	if rest, ok := strings.CutPrefix(path, apiPingPrefix); ok {
		if q.key, ok = parseUUID(strings.TrimSuffix(rest, "/"), false); !ok {
			return q, resultNotFound
		}
		return q, q.parseQuery(query, true)
	}
	res := q.parsePath(strings.TrimPrefix(path, pingPrefix))
	if res != resultOK {
		return q, res
	}
	return q, q.parseQuery(query, false)
}

// parsePath reads what follows /ping/. A ping key goes before a project key that looks like one, and an action before a
// slug of that name.
func (q *request) parsePath(path string) result {
	path = strings.TrimSuffix(path, "/")
	first, rest, more := strings.Cut(path, "/")
	q.kind = record.Success
	if key, ok := parseUUID(first, false); ok {
		if !more {
			q.key = key
			return resultOK
		}
		if res, isAction := q.parseAction(rest); isAction {
			q.key = key
			return res
		}
	}
	slug, action, more := strings.Cut(rest, "/")
	if res := checkSlug(slug); res != resultOK {
		return res
	}
	if first == "" {
		return resultNotFound
	}
	q.project, q.slug = first, slug
	if !more {
		return resultOK
	}
	res, isAction := q.parseAction(action)
	if !isAction {
		return resultNotFound
	}
	return res
}

// parseAction reads the last part of a ping URL. isAction is false where it is none.
func (q *request) parseAction(s string) (res result, isAction bool) {
	switch s {
	case "start":
		q.kind = record.Start
	case "fail":
		q.kind = record.Fail
	case "log":
		q.kind = record.Log
	default:
		if !digits(s) {
			return resultOK, false
		}
		return q.setExit(s), true
	}
	return resultOK, true
}

// setExit reads an exit status of digits and turns a success into what the status says.
func (q *request) setExit(s string) result {
	n, ok := parseExit(s)
	if !ok {
		return resultBadURL
	}
	q.exit = n
	q.kind = judge(q.kind, n)
	return resultOK
}

// judge says what a ping of that kind with that exit status is: a job that says success and ends with another status
// than 0 has failed.
func judge(kind record.PingKind, exit int16) record.PingKind {
	if kind == record.Success && exit > 0 {
		return record.Fail
	}
	return kind
}

// checkSlug tells an upper-case slug, which the contract refuses, from one that cannot exist.
func checkSlug(s string) result {
	if monitor.ValidSlug(s) {
		return resultOK
	}
	if s != "" && monitor.ValidSlug(strings.ToLower(s)) {
		return resultBadURL
	}
	return resultNotFound
}

// param is a parameter of the query.
type param struct {
	value string
	given bool
}

// parseQuery reads the parameters; of one that is given twice the last counts, as with Healthchecks. Unknown ones are
// ignored, so that clients may add their own against caches.
func (q *request) parseQuery(query string, api bool) result {
	var rid, duration, state, exit param
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		p := param{unescape(value), true}
		switch unescape(name) {
		case "rid":
			rid = p
		case "duration":
			duration = p
		case "create":
			q.create = p.value == "1"
		case "state":
			state = p
		case "exit_code":
			exit = p
		}
	}
	var ok bool
	if rid.given {
		if q.rid, ok = parseUUID(rid.value, true); !ok {
			return resultBadUUID
		}
	}
	if duration.given {
		if q.duration, ok = parseSeconds(duration.value); !ok {
			return resultBadURL
		}
	}
	if !api {
		return resultOK
	}
	return q.parseState(state, exit)
}

// parseState reads what /api/ping has in its query and /ping in its path.
func (q *request) parseState(state, exit param) result {
	q.kind = record.Success
	if state.given {
		var ok bool
		if q.kind, ok = record.ParsePingKind(state.value); !ok {
			return resultBadURL
		}
	}
	if exit.given {
		return q.setExit(exit.value)
	}
	return resultOK
}

// unescape decodes a part of a query. One that is not well-formed stays as it is: it will not be understood.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// parseUUID reads the canonical form only, unlike uuid.Parse: one key has one URL.
func parseUUID(s string, upper bool) (id uuid.UUID, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return uuid.Nil, false
	}
	at := 0
	for i := range id {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			at++
		}
		high, ok1 := nibble(s[at], upper)
		low, ok2 := nibble(s[at+1], upper)
		if !ok1 || !ok2 {
			return uuid.Nil, false
		}
		id[i] = high<<4 | low
		at += 2
	}
	return id, true
}

func nibble(c byte, upper bool) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case upper && c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func digits(s string) bool {
	for i := range len(s) {
		if !digit(s[i]) {
			return false
		}
	}
	return s != ""
}

// parseExit reads an exit status of 0 to 255.
func parseExit(s string) (int16, bool) {
	if !digits(s) {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if n = n*10 + int(s[i]-'0'); n > maxExit {
			return 0, false
		}
	}
	return int16(n), true
}

// parseSeconds reads a decimal number of seconds, "12" or "0.25". What is finer than a microsecond is cut off.
func parseSeconds(s string) (time.Duration, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	if whole+fraction == "" || whole != "" && !digits(whole) || fraction != "" && !digits(fraction) {
		return 0, false
	}
	d := time.Duration(0)
	for i := range len(whole) {
		if d = d*10 + time.Duration(whole[i]-'0')*time.Second; d > maxSeconds*time.Second {
			return 0, false
		}
	}
	unit := time.Second / 10
	for i := 0; i < len(fraction) && unit >= time.Microsecond; i++ {
		d += time.Duration(fraction[i]-'0') * unit
		unit /= 10
	}
	return d, d <= maxSeconds*time.Second
}
