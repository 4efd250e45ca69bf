package ingest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// result is how a request went.
type result uint8

const (
	resultOK result = iota
	resultCreated
	resultBadURL
	resultBadUUID
	resultBadBody
	resultNotFound
	resultMethod
	resultPreflight
	resultAmbiguous
	resultTooLarge
	resultLimited
	resultUnavailable
	results // their number
)

// answer is the fixed part of what is answered to a ping.
type answer struct {
	status int
	body   string
	label  string // of the metric
}

// answerOf is the table of the contract.
func answerOf(r result) answer {
	switch r {
	case resultOK:
		return answer{http.StatusOK, "OK", "ok"}
	case resultCreated:
		return answer{http.StatusCreated, "Created", "created"}
	case resultBadURL:
		return answer{http.StatusBadRequest, "invalid url format", "invalid"}
	case resultBadUUID:
		return answer{http.StatusBadRequest, "invalid uuid format", "invalid"}
	case resultBadBody:
		return answer{http.StatusBadRequest, "the body ended early", "invalid"}
	case resultNotFound:
		return answer{http.StatusNotFound, "not found", "not_found"}
	case resultMethod:
		return answer{http.StatusMethodNotAllowed, "method not allowed", "method"}
	case resultPreflight:
		return answer{http.StatusNoContent, "", "preflight"}
	case resultAmbiguous:
		return answer{http.StatusConflict, "ambiguous slug", "ambiguous"}
	case resultTooLarge:
		return answer{http.StatusRequestEntityTooLarge, "body too large", "too_large"}
	case resultLimited:
		return answer{http.StatusTooManyRequests, "rate limited", "rate_limited"}
	case resultUnavailable, results:
	}
	return answer{http.StatusServiceUnavailable, "try again", "unavailable"}
}

// retryAfter is what a client is asked to wait when a ping could not be recorded, in seconds.
const retryAfter = "2"

// answers holds what is written with every answer, made once: header values are shared by all requests, and net/http
// only reads them.
type answers struct {
	bodies    [results][]byte
	status    [results]int
	bodyLimit []string
	anyOrigin []string
	noStore   []string
	text      []string
	problem   []string
	json      []string
	allow     []string
	allowPost []string
	preflight []string
	later     []string
}

func newAnswers(bodyLimit int) *answers {
	a := &answers{
		bodyLimit: []string{strconv.Itoa(bodyLimit)},
		anyOrigin: []string{"*"},
		noStore:   []string{"no-store"},
		text:      []string{"text/plain; charset=utf-8"},
		problem:   []string{"application/problem+json"},
		json:      []string{"application/json"},
		allow:     []string{"GET, HEAD, POST"},
		allowPost: []string{http.MethodPost},
		preflight: []string{"*"},
		later:     []string{retryAfter},
	}
	for r := range results {
		a.bodies[r], a.status[r] = []byte(answerOf(r).body), answerOf(r).status
	}
	return a
}

// common sets the headers that stand on every answer. The keys are in canonical form, so no Set is needed.
func (a *answers) common(h http.Header) {
	h["Ping-Body-Limit"] = a.bodyLimit
	h["Access-Control-Allow-Origin"] = a.anyOrigin
	h["Cache-Control"] = a.noStore
}

// outcome is a result with what belongs to this one request.
type outcome struct {
	result result
	id     uuid.UUID     // of the recorded ping
	wait   time.Duration // with resultLimited
}

// write answers a ping. For HEAD net/http leaves the body out and keeps its length.
func (a *answers) write(w http.ResponseWriter, o outcome) {
	h := w.Header()
	a.common(h)
	switch o.result {
	case resultOK, resultCreated:
		h["Ping-Id"] = []string{o.id.String()}
	case resultLimited:
		h["Retry-After"] = []string{seconds(o.wait)}
	case resultUnavailable:
		h["Retry-After"] = a.later
	case resultMethod:
		h["Allow"] = a.allow
	case resultPreflight:
		h["Access-Control-Allow-Methods"] = a.allow
		h["Access-Control-Allow-Headers"] = a.preflight
		w.WriteHeader(http.StatusNoContent)
		return
	case resultBadURL, resultBadUUID, resultBadBody, resultNotFound, resultAmbiguous, resultTooLarge, results:
	}
	h["Content-Type"] = a.text
	w.WriteHeader(a.status[o.result])
	_, _ = w.Write(a.bodies[o.result]) // a client that has gone learns nothing; its ping stays recorded
}

// seconds is d in whole seconds, rounded up and at least 1: what Retry-After takes.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}
