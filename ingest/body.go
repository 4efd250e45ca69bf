package ingest

import (
	"errors"
	"io"
	"net/http"

	"github.com/tokiflow/tokiflow/core/record"
)

// scratch is what one request writes into. It is used again by a later one.
type scratch struct {
	body  []byte
	rec   []byte
	agent []byte
	ping  record.Ping
}

// maxPooled is the size of a buffer that is worth keeping, in bytes.
const maxPooled = 256 << 10

// firstRead is how much is made ready for a body before any of it has come: who announces much and sends little shall
// not make us hold the memory for it.
const firstRead = 16 << 10

// readBody reads the first limit bytes of the body into s.body and drops the rest. size is what the client sent. The
// result is resultTooLarge over maxBody, resultBadBody where the body did not come whole.
func (s *scratch) readBody(r *http.Request, limit int) (size int64, res result) {
	s.body = s.body[:0]
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody {
		return 0, resultOK
	}
	if r.ContentLength > maxBody {
		return 0, resultTooLarge
	}
	announced := limit
	if r.ContentLength > 0 {
		announced = int(min(int64(limit), r.ContentLength))
	}
	for len(s.body) < limit {
		s.grow(announced, limit)
		n, err := r.Body.Read(s.body[len(s.body):min(cap(s.body), limit)])
		s.body = s.body[:len(s.body)+n]
		if errors.Is(err, io.EOF) {
			return int64(len(s.body)), resultOK
		}
		if err != nil {
			return 0, resultBadBody
		}
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxBody+1-int64(len(s.body))))
	size = int64(len(s.body)) + rest
	switch {
	case err != nil:
		return 0, resultBadBody
	case size > maxBody:
		return 0, resultTooLarge
	}
	return size, resultOK
}

// grow makes room behind what has been read: first for what was announced, up to firstRead, then by doubling.
func (s *scratch) grow(announced, limit int) {
	if len(s.body) < cap(s.body) {
		return
	}
	room := min(limit, max(2*cap(s.body), min(announced, firstRead)))
	grown := make([]byte, len(s.body), room)
	copy(grown, s.body)
	s.body = grown
}

// release gives the scratch back for another request. Without the record where that may still be in use.
func (g *Ingest) release(s *scratch, recordInUse bool) {
	s.ping = record.Ping{}
	if recordInUse || cap(s.rec) > maxPooled {
		s.rec = nil
	}
	if cap(s.body) > maxPooled {
		s.body = nil
	}
	g.scratch.Put(s)
}
