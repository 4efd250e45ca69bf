package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// What a ping of a batch is rejected with, beside what parseBatchPing says.
var (
	errNotFound  = errors.New("not found")
	errAmbiguous = errors.New("ambiguous slug")
	errTryAgain  = errors.New("try again")
)

// problem is an RFC 9457 answer. wait asks the client to come back after that time.
type problem struct {
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	wait   time.Duration // 0: none
}

func refuse(status int, detail string) *problem {
	return &problem{Title: http.StatusText(status), Status: status, Detail: detail}
}

// rejected is a ping that was not taken.
type rejected struct {
	Index int    `json:"index"`
	Error string `json:"error"`
}

// batchAnswer is what is said of a batch that was taken.
type batchAnswer struct {
	Accepted int        `json:"accepted"`
	Rejected []rejected `json:"rejected"`
}

// serveBatch takes up to maxBatchPings pings at once.
func (g *Ingest) serveBatch(w http.ResponseWriter, r *http.Request) {
	done, failed := g.batch(w, r)
	h := w.Header()
	g.answers.common(h)
	var body []byte
	status := http.StatusOK
	if failed != nil {
		h["Content-Type"] = g.answers.problem
		switch status = failed.Status; status {
		case http.StatusMethodNotAllowed:
			h["Allow"] = g.answers.allowPost
		case http.StatusUnauthorized:
			h["Www-Authenticate"] = []string{"Bearer"}
		}
		if failed.wait > 0 {
			h["Retry-After"] = []string{seconds(failed.wait)}
		}
		body, _ = json.Marshal(failed) // of strings and a number: cannot fail
	} else {
		h["Content-Type"] = g.answers.json
		body, _ = json.Marshal(done)
		g.metrics.batchPings.WithLabelValues("accepted").Add(float64(done.Accepted))
		g.metrics.batchPings.WithLabelValues("rejected").Add(float64(len(done.Rejected)))
	}
	g.metrics.batches.WithLabelValues(strconv.Itoa(status)).Inc()
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

func (g *Ingest) batch(w http.ResponseWriter, r *http.Request) (batchAnswer, *problem) {
	if r.Method != http.MethodPost {
		return batchAnswer{}, refuse(http.StatusMethodNotAllowed, "send a batch of pings by POST")
	}
	now := g.now(g.clock())
	who, failed := g.identify(r, now)
	if failed != nil {
		return batchAnswer{}, failed
	}
	data, failed := g.readBatch(w, r)
	if failed != nil {
		return batchAnswer{}, failed
	}
	b := newBatch(g, r, who.Org, now)
	switch err := splitBatch(data, b.add); {
	case errors.Is(err, errTooMany):
		return batchAnswer{}, refuse(http.StatusRequestEntityTooLarge, "a batch has up to 10000 pings: send several")
	case err != nil:
		return batchAnswer{}, refuse(http.StatusBadRequest, "the JSON array is broken, nothing was taken: "+plainJSON(err).Error())
	}
	if err := b.append(r.Context()); err != nil {
		g.limit.giveBack(who.limit)
		failed := refuse(http.StatusServiceUnavailable, "not all pings could be recorded durably, nothing is promised of any: send the whole batch again")
		failed.wait = 2 * time.Second
		return batchAnswer{}, failed
	}
	return b.answer, nil
}

// identify proves the API key, its scope and its rate limit.
func (g *Ingest) identify(r *http.Request, now time.Duration) (identity, *problem) {
	who, err := g.auth.authenticate(r.Context(), auth.KeyOf(r.Header.Get("Authorization"), r.Header.Get("X-Api-Key")), now)
	switch {
	case errors.Is(err, errNoKey):
		return who, refuse(http.StatusUnauthorized, "give a valid API key, as `Authorization: Bearer …` or `X-Api-Key: …`")
	case err != nil:
		g.log.Warn("an API key could not be looked up; the client was told to try again", "error", err)
		failed := refuse(http.StatusServiceUnavailable, "API keys cannot be looked up now: try again")
		failed.wait = 2 * time.Second
		return who, failed
	case !who.Has(tenant.ScopePing):
		return who, refuse(http.StatusForbidden, "the API key lacks the scope `ping`")
	}
	if wait := g.limit.take(who.limit, now); wait > 0 {
		failed := refuse(http.StatusTooManyRequests, "too many batches with this API key: put more pings into each")
		failed.wait = wait
		return who, failed
	}
	return who, nil
}

func (g *Ingest) readBatch(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	large := "a batch has up to 8 MiB, unpacked: send several"
	if r.ContentLength > maxBatch {
		return nil, refuse(http.StatusRequestEntityTooLarge, large)
	}
	// One that is packed badly may be a little larger than what it stands for.
	packed := http.MaxBytesReader(w, r.Body, maxBatch+maxBatch/16)
	data, err := g.inflate.readAll(packed, strings.Join(r.Header["Content-Encoding"], ","))
	var endless *http.MaxBytesError
	switch {
	case errors.Is(err, errTooLarge), errors.As(err, &endless):
		return nil, refuse(http.StatusRequestEntityTooLarge, large)
	case errors.Is(err, errEncoding):
		return nil, refuse(http.StatusUnsupportedMediaType, "the content encodings are gzip and zstd")
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body cannot be read: "+err.Error())
	}
	return data, nil
}

// batch gathers the records of a batch by partition.
type batch struct {
	g      *Ingest
	org    tenant.OrgID
	now    time.Duration
	remote string
	agent  string
	arena  []byte         // all records, one behind the other
	parts  map[int][]span // by partition
	answer batchAnswer
}

// span is a record's place in the arena, which moves while it grows.
type span struct{ from, to int }

func newBatch(g *Ingest, r *http.Request, org tenant.OrgID, now time.Duration) *batch {
	return &batch{
		g: g, org: org, now: now,
		remote: remoteAddr(r, g.o.TrustedProxies),
		agent:  g.userAgent(r, new(scratch)),
		parts:  map[int][]span{},
		answer: batchAnswer{Rejected: []rejected{}},
	}
}

// add takes or rejects one ping.
func (b *batch) add(i int, one []byte) {
	if err := b.take(one); err != nil {
		b.answer.Rejected = append(b.answer.Rejected, rejected{Index: i, Error: err.Error()})
		return
	}
	b.answer.Accepted++
}

func (b *batch) take(one []byte) error {
	p, err := parseBatchPing(one)
	if err != nil {
		return err
	}
	t, err := b.resolve(&p)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	size := len(p.body)
	kept := p.body[:min(size, b.g.o.BodyLimit)]
	from := len(b.arena)
	b.arena = record.AppendPing(b.arena, &record.Ping{
		ID: id, Org: t.Org, Monitor: t.Monitor, Kind: p.kind, RID: p.rid, ExitCode: p.exit, Duration: p.duration,
		RemoteAddr: b.remote, UserAgent: b.agent, Method: http.MethodPost,
		BodySize: int64(size), Body: b.g.redact(t.Org, kept, len(kept) < size),
	})
	b.parts[t.partition] = append(b.parts[t.partition], span{from, len(b.arena)})
	return nil
}

// resolve finds the monitor within the organisation of the API key; one of another organisation is not there.
func (b *batch) resolve(p *batchPing) (*target, error) {
	if p.slug == "" {
		if t := b.g.cache.byKey(p.key); t != nil && t.Org == b.org {
			return t, nil
		}
	} else {
		switch found := b.g.cache.bySlug(b.org.UUID, p.slug); len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return nil, errAmbiguous
		}
	}
	if !b.g.cache.whole(b.now) {
		return nil, errTryAgain
	}
	return nil, errNotFound
}

// append makes all records durable, the partitions side by side. The error is that of any of them.
func (b *batch) append(ctx context.Context) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for partition, spans := range b.parts {
		recs := make([][]byte, len(spans))
		for i, s := range spans {
			recs[i] = b.arena[s.from:s.to:s.to]
		}
		wg.Go(func() {
			if _, err := b.g.o.Appender.AppendAll(ctx, partition, recs); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	wg.Wait()
	return failed
}
