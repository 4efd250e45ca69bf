package promapi

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/prometheus/util/annotations"
)

// answer is a success in Prometheus' form.
type answer struct {
	data     func(*jsonWriter)
	warnings annotations.Annotations
	query    string // that the warnings point into
	close    func() // after the last byte; may be nil

	// Of answers that are not JSON: their type, how they are packed, and what writes them.
	stream   string
	encoding string
	write    func(io.Writer) error
}

// respond writes an answer. From the first byte on an error can only cut it short.
func (a *API) respond(w http.ResponseWriter, r *http.Request, x *answer) {
	if x.close != nil {
		defer x.close()
	}
	if x.write != nil {
		a.respondStream(w, r, x)
		return
	}
	out := a.zippers.wrap(w, r)
	w.Header().Set("Content-Type", "application/json")
	j := jsonWriter{w: out, b: make([]byte, 0, flushAt/4)}
	j.raw(`{"status":"success","data":`)
	x.data(&j)
	warnings, infos := x.warnings.AsStrings(x.query, 10, 10)
	if len(warnings) > 0 {
		j.raw(`,"warnings":`)
		j.strings(warnings)
	}
	if len(infos) > 0 {
		j.raw(`,"infos":`)
		j.strings(infos)
	}
	j.raw("}")
	j.flush()
	err := out.Close()
	if j.err != nil {
		err = j.err
	}
	if err != nil {
		a.logger.LogAttrs(r.Context(), slog.LevelDebug, "an answer was cut short", slog.String("path", r.URL.Path), slog.Any("error", err))
	}
}

// refuse answers an error.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, e *apiError) {
	if e.cause != nil {
		a.logger.LogAttrs(r.Context(), slog.LevelError, "a request to the Prometheus API failed",
			slog.String("path", r.URL.Path), slog.String("type", e.kind), slog.Any("error", e))
	}
	j := jsonWriter{w: w}
	j.raw(`{"status":"error","errorType":`)
	j.string(e.kind)
	j.raw(`,"error":`)
	j.string(e.message)
	j.raw("}")
	if e.status() == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status())
	j.flush()
}

// zippers keep gzip writers for the next answer.
type zippers struct{ pool sync.Pool }

// wrap compresses what is written where the client takes gzip and it is not a few bytes.
func (z *zippers) wrap(w http.ResponseWriter, r *http.Request) io.WriteCloser {
	w.Header().Add("Vary", "Accept-Encoding")
	if !takesGzip(r.Header.Get("Accept-Encoding")) {
		return plain{w}
	}
	return &zipped{w: w, pool: &z.pool}
}

func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(part, ";")
		if q := strings.ReplaceAll(params, " ", ""); strings.EqualFold(strings.TrimSpace(name), "gzip") && q != "q=0" && q != "q=0.0" {
			return true
		}
	}
	return false
}

type plain struct{ io.Writer }

// Close does nothing.
func (plain) Close() error { return nil }

// zipped decides at the first write, which is the whole answer where that is short.
type zipped struct {
	w    http.ResponseWriter
	pool *sync.Pool
	zip  *gzip.Writer
	told bool
}

// Write writes compressed, but for a single short write.
func (z *zipped) Write(p []byte) (int, error) {
	const little = 1024
	if !z.told {
		z.told = true
		if len(p) >= little {
			z.w.Header().Set("Content-Encoding", "gzip")
			if z.zip, _ = z.pool.Get().(*gzip.Writer); z.zip == nil {
				z.zip, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails for a level that there is not
			}
			z.zip.Reset(z.w)
		}
	}
	if z.zip == nil {
		return z.w.Write(p)
	}
	return z.zip.Write(p)
}

// Close writes the end, and keeps the writer for another answer.
func (z *zipped) Close() error {
	if z.zip == nil {
		return nil
	}
	err := z.zip.Close()
	z.pool.Put(z.zip)
	z.zip = nil
	return err
}
