package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/ingest/admit"
	"github.com/tokiflow/tokiflow/saas/auth"
)

// The versions of the protocol, as the metrics have them.
const (
	version1 = "1.0"
	version2 = "2.0"
)

// unavailableRetry is told to who comes while the log cannot take records, and busyRetry to who finds too much under way.
const (
	unavailableRetry = 5 * time.Second
	busyRetry        = time.Second
)

// answer is what a request comes to.
type answer struct {
	status              int
	text                string
	retry               time.Duration
	samples, histograms int // written
}

func failed(status int, format string, args ...any) answer {
	return answer{status: status, text: fmt.Sprintf(format, args...) + "\n"}
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := h.o.Clock()
	version, a := versionOf(r.Header)
	if a.status == 0 {
		who, err := h.o.Keys.Request(r, tenant.ScopeSamples)
		if err != nil {
			a = unauthorised(w.Header(), err)
		} else {
			a = h.write(r, who.Org, version)
		}
	}
	if version != version1 {
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(a.samples))
		w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", strconv.Itoa(a.histograms))
		w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", "0")
	}
	if a.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(a.retry.Seconds())))))
	}
	if a.status == http.StatusNoContent {
		w.WriteHeader(a.status)
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.text)
	}
	h.metrics.answered(version, &a, h.o.Clock().Sub(begun))
}

// versionOf reads the protocol's version off the headers. The answer is 415 where it is none we know.
func versionOf(h http.Header) (string, answer) {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "snappy") {
		return "", failed(http.StatusUnsupportedMediaType, "Content-Encoding %q is not taken: send snappy, in its block format", e)
	}
	contentType := h.Get("Content-Type")
	if contentType == "" {
		return version1, answer{}
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "application/x-protobuf" {
		return "", failed(http.StatusUnsupportedMediaType, "Content-Type %q is not taken: send application/x-protobuf", contentType)
	}
	switch params["proto"] {
	case "", "prometheus.WriteRequest":
		return version1, answer{}
	case "io.prometheus.write.v2.Request":
		return version2, answer{}
	}
	return "", failed(http.StatusUnsupportedMediaType,
		"Content-Type %q is not taken: proto may be prometheus.WriteRequest or io.prometheus.write.v2.Request", contentType)
}

func unauthorised(h http.Header, err error) answer {
	switch fault.CodeOf(err) {
	case fault.Unauthenticated:
		auth.Challenge(h)
		return failed(http.StatusUnauthorized, "%s", fault.MessageOf(err))
	case fault.Forbidden:
		return failed(http.StatusForbidden, "%s", fault.MessageOf(err))
	default:
		a := failed(http.StatusServiceUnavailable, "the API key cannot be looked up now: try again")
		a.retry = unavailableRetry
		return a
	}
}

// write reads the request's body and appends what is in it.
func (h *Handler) write(r *http.Request, org tenant.OrgID, version string) answer {
	packed, ok := h.bodies.Get().(*[]byte)
	if !ok {
		packed = new([]byte)
	}
	defer h.keepBody(packed)
	if a := h.read(r, packed); a.status != 0 {
		return a
	}
	n, err := s2.DecodedLen(*packed)
	// A copy of Snappy's makes 64 bytes of 3, no more.
	if err != nil || n > 22*len(*packed) && n <= h.o.MaxUnpacked {
		return failed(http.StatusBadRequest, "the body is not in Snappy's block format")
	}
	if n > h.o.MaxUnpacked {
		return failed(http.StatusRequestEntityTooLarge, "the body unpacks to %d bytes, %d are allowed: send less at a time", n, h.o.MaxUnpacked)
	}
	if h.atOnce.Add(int64(n)) > int64(max(h.o.MaxAtOnce, n)) {
		h.atOnce.Add(-int64(n))
		a := failed(http.StatusServiceUnavailable, "too much is being written at once: try again")
		a.retry = busyRetry
		return a
	}
	defer h.atOnce.Add(-int64(n))
	body, a := h.unpack(*packed)
	if a.status != 0 {
		return a
	}
	b, ok := h.batches.Get().(*batch)
	if !ok {
		b = &batch{}
	}
	defer h.keepBatch(b)
	b.rules, b.now = &h.o.Rules, h.o.Clock()
	if version == version1 {
		err = b.readV1(body)
	} else {
		err = b.readV2(body)
	}
	if _, much := errors.AsType[tooMuchError](err); much {
		return failed(http.StatusRequestEntityTooLarge, "%v", err)
	}
	if err != nil {
		return failed(http.StatusBadRequest, "%v", err)
	}
	return h.append(r.Context(), org, b)
}

// read reads the body as it comes.
func (h *Handler) read(r *http.Request, into *[]byte) answer {
	tooBig := failed(http.StatusRequestEntityTooLarge, "the body has more than the %d bytes that are allowed: send less at a time", h.o.MaxBody)
	if r.ContentLength > int64(h.o.MaxBody) {
		return tooBig
	}
	// No more than a usual body for a mere announcement: it grows with what comes.
	buf := slices.Grow((*into)[:0], int(min(max(r.ContentLength+1, 4<<10), 256<<10)))
	for {
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > h.o.MaxBody {
			*into = buf
			return tooBig
		}
		if err != nil {
			*into = buf
			if errors.Is(err, io.EOF) {
				return answer{}
			}
			return failed(http.StatusBadRequest, "the body could not be read to its end")
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
	}
}

// unpack makes one string of the body, of which everything else is cut.
func (h *Handler) unpack(packed []byte) (string, answer) {
	buf, ok := h.bodies.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	defer h.keepBody(buf)
	raw, err := s2.Decode((*buf)[:cap(*buf)], packed)
	if err != nil {
		return "", failed(http.StatusBadRequest, "the body is not in Snappy's block format")
	}
	*buf = raw
	return string(raw), answer{}
}

// kept is the size up to which memory is used for another request.
const kept = 4 << 20

func (h *Handler) keepBody(b *[]byte) {
	if cap(*b) <= kept {
		h.bodies.Put(b)
	}
}

func (h *Handler) keepBatch(b *batch) {
	if cap(b.labels) <= kept/32 && cap(b.floats) <= kept/16 && cap(b.symbols) <= kept/16 {
		b.reset()
		h.batches.Put(b)
	}
}

// append holds what was read to the organisation's limits and makes the rest durable.
func (h *Handler) append(ctx context.Context, org tenant.OrgID, b *batch) answer {
	h.metrics.exemplars.Add(float64(b.exemplars))
	h.metrics.created.Add(float64(b.created))
	samples, histograms := b.count()
	if wait := h.o.Limiter.Take(org, samples+histograms); wait > 0 {
		b.refused.add(admit.OverRate, samples+histograms, "the organisation sends more samples a second than it may")
		h.refused(ctx, org, &b.refused)
		return answer{status: http.StatusTooManyRequests, text: b.refused.String(), retry: wait}
	}
	full := h.dropExcess(org, b)
	if full {
		samples, histograms = b.count()
	}
	b.metadata = h.known.Fresh(org, b.metadata, b.now)
	if len(b.series) > 0 || len(b.metadata) > 0 {
		if err := h.o.Appender.AppendSamples(ctx, org, b.series, b.metadata); err != nil {
			// The log has said what is the matter; only that it was told is of interest here.
			h.o.Logger.Debug("samples could not be appended", "organisation", org, "error", err)
			a := failed(http.StatusServiceUnavailable, "the samples could not be stored now: try again")
			a.retry = unavailableRetry
			return a
		}
	}
	h.known.Stored(org, b.metadata)
	h.refused(ctx, org, &b.refused)
	a := answer{status: http.StatusNoContent, samples: samples, histograms: histograms}
	switch {
	case full:
		a.status, a.retry = http.StatusTooManyRequests, admit.SeriesRetry
	case b.refused.count > 0:
		a.status = http.StatusBadRequest
	}
	if b.refused.count > 0 {
		a.text = b.refused.String()
	}
	return a
}

// refused counts what was not taken, and logs the first of it, once a minute: senders repeat themselves.
func (h *Handler) refused(ctx context.Context, org tenant.OrgID, r *refusals) {
	h.metrics.refusedSamples(r)
	now, last := h.o.Clock().Unix(), h.logged.Load()
	if r.count > 0 && now-last >= 60 && h.logged.CompareAndSwap(last, now) {
		h.o.Logger.WarnContext(ctx, "samples of a remote write are refused", "organisation", org, "faults", r.count, "first", r.texts[0])
	}
}

// dropExcess takes the series out that are more than the organisation may have, and reports whether there were any.
func (h *Handler) dropExcess(org tenant.OrgID, b *batch) bool {
	var excess []int
	h.o.Limiter.Active(org, b.series, func(i int) { excess = append(excess, i) })
	for _, i := range excess {
		s := &b.series[i]
		err := h.o.Limiter.Over(s.Labels)
		b.refused.add(err.Reason, len(s.Floats)+len(s.Histograms), err.Text)
		s.Labels = nil
	}
	if len(excess) > 0 {
		b.series = slices.DeleteFunc(b.series, func(s series.Series) bool { return s.Labels == nil })
	}
	return len(excess) > 0
}
