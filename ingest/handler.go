package ingest

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/redact"
)

// servePing answers one ping.
func (g *Ingest) servePing(w http.ResponseWriter, r *http.Request) {
	begun := g.clock()
	o := g.ping(r, g.now(begun))
	g.answers.write(w, o)
	g.metrics.observe(o.result, g.clock().Sub(begun))
}

// ping takes the request through its stages; the first that refuses it ends it, with nothing stored.
func (g *Ingest) ping(r *http.Request, now time.Duration) outcome {
	method, res := allowed(r)
	if res != resultOK {
		return outcome{result: res}
	}
	q, res := parseURL(r.URL.Path, r.URL.RawQuery)
	if res != resultOK {
		return outcome{result: res}
	}
	t, p, res := g.resolve(&q, now)
	if res != resultOK {
		return outcome{result: res}
	}
	limited := p.bucket(t)
	if wait := g.limit.take(limited, now); wait > 0 {
		return outcome{result: resultLimited, wait: wait}
	}
	s := g.scratch.Get().(*scratch)
	size, res := s.readBody(r, g.o.BodyLimit)
	if res == resultOK && t == nil {
		t, res = g.create(r.Context(), p, q.slug)
	}
	if t == nil || res != resultOK && res != resultCreated {
		g.release(s, false)
		if res == resultUnavailable {
			g.limit.giveBack(limited)
		}
		return outcome{result: res}
	}
	id, err := g.record(r, s, t, &q, method, size)
	g.release(s, err != nil)
	if err != nil {
		g.limit.giveBack(limited) // a client that does as it is told and tries again is not to be refused for that
		return outcome{result: resultUnavailable}
	}
	return outcome{result: res, id: id}
}

// allowed is the request's method, as a constant; or what to answer to the others. A browser's preflight is answered:
// without it no page could send a ping with a header of its own.
func allowed(r *http.Request) (string, result) {
	switch r.Method {
	case http.MethodGet:
		return http.MethodGet, resultOK
	case http.MethodHead:
		return http.MethodHead, resultOK
	case http.MethodPost:
		return http.MethodPost, resultOK
	case http.MethodOptions:
		if r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" {
			return "", resultPreflight
		}
	}
	return "", resultMethod
}

// resolve finds the monitor. With create=1 there may be none, then it is to be made in the project p.
func (g *Ingest) resolve(q *request, now time.Duration) (t *target, p *project, res result) {
	unknown := resultNotFound
	if !g.cache.whole(now) {
		unknown = resultUnavailable
	}
	if q.project == "" {
		if t = g.cache.byKey(q.key); t == nil {
			return nil, nil, unknown
		}
		return t, nil, resultOK
	}
	if p = g.cache.project(q.project); p == nil {
		return nil, nil, unknown
	}
	switch found := g.cache.bySlug(p.Project.UUID, q.slug); {
	case len(found) == 1:
		return found[0], nil, resultOK
	case len(found) > 1:
		return nil, nil, resultAmbiguous
	case q.create:
		return nil, p, resultOK
	}
	return nil, nil, unknown
}

// bucket is the rate limit of a monitor, or, while there is none, of those that the project's slug URLs ask for.
func (p *project) bucket(t *target) *bucket {
	if t != nil {
		return t.limit
	}
	return p.creates
}

// record makes the ping durable. After an error s.rec may still be in use.
func (g *Ingest) record(r *http.Request, s *scratch, t *target, q *request, method string, size int64) (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, err
	}
	s.ping = record.Ping{
		ID:         id,
		Org:        t.Org,
		Monitor:    t.Monitor,
		Kind:       q.kind,
		RID:        q.rid,
		ExitCode:   q.exit,
		Duration:   q.duration,
		RemoteAddr: remoteAddr(r, g.o.TrustedProxies),
		UserAgent:  g.userAgent(r, s),
		Method:     method,
		BodySize:   size,
		Body:       g.redact(t.Org, s.body, size > int64(len(s.body))),
	}
	s.rec = record.AppendPing(s.rec[:0], &s.ping)
	_, err = g.o.Appender.Append(r.Context(), t.partition, s.rec) // who logs its failures, once a streak
	return id, err
}

// userAgent is what is kept of the User-Agent: some programs put a key into it.
func (g *Ingest) userAgent(r *http.Request, s *scratch) string {
	ua := userAgent(r)
	s.agent = append(s.agent[:0], ua...)
	if clean, n := g.redactor.Bytes(s.agent, len(ua) == maxUserAgent); n > 0 {
		return string(clean)
	}
	return ua
}

// redact takes secrets out of a body, and keeps it within the limit. cut says that the body went on.
func (g *Ingest) redact(org tenant.OrgID, body []byte, cut bool) []byte {
	if len(body) == 0 {
		return nil
	}
	clean, n := g.redactor.Bytes(body, cut)
	if g.o.Redact != nil {
		for _, re := range g.o.Redact(org) {
			if re.Match(clean) {
				clean = re.ReplaceAllLiteral(clean, []byte(redact.Mark))
				n++
			}
		}
	}
	if n > 0 {
		g.metrics.redactions.Add(float64(n))
	}
	return clean[:min(len(clean), g.o.BodyLimit)]
}
