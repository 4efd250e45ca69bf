package loadgen

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// around is what stands before and behind the target in every request for a ping.
func around(base *url.URL, body []byte) (front, back []byte) {
	whole := request(base, strings.TrimRight(base.Path, "/")+"/ping/\x00", nil, body)
	front, back, _ = bytes.Cut(whole, []byte{0})
	return front, back
}

// write makes the worker's next request and says how many pings are in it.
func (w *worker) write() (pings int) {
	o := &w.g.o
	if o.Batch > 0 {
		w.out = w.batch()
		return o.Batch
	}
	w.out = append(append(w.out[:0], w.g.front...), w.target()...)
	separator := byte('?')
	switch {
	case o.Runs && w.open == uuid.Nil:
		w.open = uuid.New()
		w.out = append(w.out, "/start?rid="+w.open.String()...)
		separator = '&'
	case o.Runs:
		w.out = append(w.out, "?rid="+w.open.String()...)
		w.open = uuid.Nil
		separator = '&'
	case o.Kind != "" && o.Kind != "success":
		w.out = append(append(w.out, '/'), o.Kind...)
	}
	if w.open == uuid.Nil {
		w.next += o.Connections // a run keeps its key until it is over
	}
	if o.Create {
		w.out = append(append(w.out, separator), "create=1"...)
	}
	w.out = append(w.out, w.g.back...)
	return 1
}

func (w *worker) target() string { return w.g.o.Targets[w.next%len(w.g.o.Targets)] }

// line is one ping of a batch.
type line struct {
	Key  string `json:"key,omitempty"`
	Slug string `json:"slug,omitempty"`
	Kind string `json:"kind"`
	RID  string `json:"rid,omitempty"`
	Body string `json:"body,omitempty"`
}

// batch makes one request of the batch endpoint, as NDJSON.
func (w *worker) batch() []byte {
	o := &w.g.o
	var body []byte
	for range o.Batch {
		l := line{Key: w.target(), Kind: o.Kind, Body: string(o.Body)}
		if _, slug, ok := strings.Cut(l.Key, "/"); ok {
			l.Key, l.Slug = "", slug
		}
		if l.Kind == "" {
			l.Kind = "success"
		}
		w.next += o.Connections
		text, err := json.Marshal(l)
		if err != nil {
			panic(err) // strings always marshal
		}
		body = append(append(body, text...), '\n')
	}
	header := "Content-Type: application/x-ndjson\r\nAuthorization: Bearer " + o.APIKey + "\r\n"
	return request(w.g.base, strings.TrimRight(w.g.base.Path, "/")+"/api/v1/pings", []byte(header), body)
}

// accepted is how many of the pings of a request that was answered 200 the server has taken.
func accepted(body []byte, pings int, batch bool) int {
	if !batch {
		return pings
	}
	var said struct {
		Accepted int `json:"accepted"`
	}
	if json.Unmarshal(body, &said) != nil {
		return 0
	}
	return min(said.Accepted, pings)
}
