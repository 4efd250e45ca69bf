package promapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	readMost  = 32 << 20 // bytes of a request, before and after it is unpacked
	frameMost = 1 << 20  // bytes of chunks in a frame, as Prometheus has it
)

// read is remote read: the series of some selectors, as samples or as a stream of chunks, whichever the client takes first.
func (a *API) read(ctx context.Context, r *request) (*answer, error) {
	req, err := readRequest(r.Body)
	if err != nil {
		return nil, badData(err)
	}
	kind, ok := firstKnown(req.AcceptedResponseTypes)
	if !ok {
		return nil, badData(fmt.Errorf("none of the accepted response types %v is supported: accept SAMPLES or STREAMED_XOR_CHUNKS", req.AcceptedResponseTypes))
	}
	if kind == prompb.ReadRequest_STREAMED_XOR_CHUNKS {
		return &answer{stream: "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse", write: func(w io.Writer) error {
			return a.readChunks(ctx, r, req, w)
		}}, nil
	}
	resp, err := a.readSamples(ctx, r, req)
	if err != nil {
		return nil, err
	}
	data, err := resp.Marshal()
	if err != nil {
		return nil, fmt.Errorf("writing samples: %w", err)
	}
	return &answer{stream: "application/x-protobuf", encoding: "snappy", write: func(w io.Writer) error {
		_, err := w.Write(snappy.Encode(nil, data))
		return err
	}}, nil
}

func readRequest(body io.Reader) (*prompb.ReadRequest, error) {
	packed, err := io.ReadAll(io.LimitReader(body, readMost+1))
	if err != nil {
		return nil, err
	}
	n, err := snappy.DecodedLen(packed)
	if err != nil {
		return nil, fmt.Errorf("the body is not snappy: %w", err)
	}
	if len(packed) > readMost || n > readMost {
		return nil, errors.New("the request is larger than " + strconv.Itoa(readMost) + " bytes")
	}
	data, err := snappy.Decode(nil, packed)
	if err != nil {
		return nil, fmt.Errorf("the body is not snappy: %w", err)
	}
	req := &prompb.ReadRequest{}
	if err := req.Unmarshal(data); err != nil {
		return nil, fmt.Errorf("the body is not a ReadRequest: %w", err)
	}
	return req, nil
}

// firstKnown is the first type of answer that is supported; who says nothing gets samples.
func firstKnown(accepted []prompb.ReadRequest_ResponseType) (prompb.ReadRequest_ResponseType, bool) {
	for _, t := range accepted {
		if t == prompb.ReadRequest_SAMPLES || t == prompb.ReadRequest_STREAMED_XOR_CHUNKS {
			return t, true
		}
	}
	return prompb.ReadRequest_SAMPLES, len(accepted) == 0
}

// selected is what one query of a request selects. The caller must close the querier.
func (a *API) selected(ctx context.Context, r *request, q *prompb.Query, sorted bool) (storage.Querier, storage.SeriesSet, error) {
	matchers := make([]*labels.Matcher, len(q.Matchers))
	for i, m := range q.Matchers {
		kind, err := matchType(m.Type)
		if err == nil {
			matchers[i], err = labels.NewMatcher(kind, m.Name, m.Value)
		}
		if err != nil {
			return nil, nil, badData(err)
		}
	}
	hints := &storage.SelectHints{Start: q.StartTimestampMs, End: q.EndTimestampMs}
	if h := q.Hints; h != nil {
		hints = &storage.SelectHints{
			Start: h.StartMs, End: h.EndMs, Step: h.StepMs, Func: h.Func, Grouping: h.Grouping, By: h.By, Range: h.RangeMs,
		}
	}
	querier, err := a.queryable(ctx, r.org).Querier(q.StartTimestampMs, q.EndTimestampMs)
	if err != nil {
		return nil, nil, err
	}
	return querier, querier.Select(ctx, sorted, hints, matchers...), nil
}

func matchType(t prompb.LabelMatcher_Type) (labels.MatchType, error) {
	switch t {
	case prompb.LabelMatcher_EQ:
		return labels.MatchEqual, nil
	case prompb.LabelMatcher_NEQ:
		return labels.MatchNotEqual, nil
	case prompb.LabelMatcher_RE:
		return labels.MatchRegexp, nil
	case prompb.LabelMatcher_NRE:
		return labels.MatchNotRegexp, nil
	}
	return 0, fmt.Errorf("a matcher of the unknown type %d", t)
}

func (a *API) readSamples(ctx context.Context, r *request, req *prompb.ReadRequest) (*prompb.ReadResponse, error) {
	resp := &prompb.ReadResponse{Results: make([]*prompb.QueryResult, len(req.Queries))}
	left := a.limits.MaxSamples
	for i, query := range req.Queries {
		resp.Results[i] = &prompb.QueryResult{}
		q, set, err := a.selected(ctx, r, query, false)
		if err != nil {
			return nil, err
		}
		err = a.collect(ctx, set, resp.Results[i], &left)
		if e := q.Close(); err == nil {
			err = e
		}
		if err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// collect reads a set whole, but no more samples than are left.
func (a *API) collect(ctx context.Context, set storage.SeriesSet, into *prompb.QueryResult, left *int) error {
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		out := &prompb.TimeSeries{Labels: prompb.FromLabels(s.Labels(), nil)}
		it = s.Iterator(it)
		for k := it.Next(); k != chunkenc.ValNone; k = it.Next() {
			if *left--; *left < 0 {
				return &limitError{"remote read would answer more than " + strconv.Itoa(a.limits.MaxSamples) +
					" samples: shorten the time range, select fewer series, or accept STREAMED_XOR_CHUNKS"}
			}
			switch k {
			case chunkenc.ValFloat:
				t, v := it.At()
				out.Samples = append(out.Samples, prompb.Sample{Timestamp: t, Value: v})
			case chunkenc.ValHistogram:
				t, h := it.AtHistogram(nil)
				out.Histograms = append(out.Histograms, prompb.FromIntHistogram(t, h))
			default:
				t, h := it.AtFloatHistogram(nil)
				out.Histograms = append(out.Histograms, prompb.FromFloatHistogram(t, h))
			}
		}
		if err := it.Err(); err != nil {
			return a.failed(ctx, readingStored, err)
		}
		into.Timeseries = append(into.Timeseries, out)
	}
	return set.Err()
}

// readChunks streams frames: the length of a message, its CRC-32 (Castagnoli), and the message, with chunks of one series.
func (a *API) readChunks(ctx context.Context, r *request, req *prompb.ReadRequest, w io.Writer) error {
	for i, query := range req.Queries {
		q, set, err := a.selected(ctx, r, query, true)
		if err != nil {
			return err
		}
		err = a.stream(ctx, w, int64(i), set)
		if e := q.Close(); err == nil {
			err = e
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *API) stream(ctx context.Context, w io.Writer, query int64, set storage.SeriesSet) error {
	for set.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := set.At()
		out := &prompb.ChunkedSeries{Labels: prompb.FromLabels(s.Labels(), nil)}
		size := 0
		it := storage.NewSeriesToChunkEncoder(s).Iterator(nil)
		for it.Next() {
			c := it.At()
			out.Chunks = append(out.Chunks, prompb.Chunk{
				MinTimeMs: c.MinTime, MaxTimeMs: c.MaxTime, Type: prompb.Chunk_Encoding(c.Chunk.Encoding()), Data: c.Chunk.Bytes(),
			})
			if size += len(c.Chunk.Bytes()); size >= frameMost {
				if err := frame(w, query, out); err != nil {
					return err
				}
				out.Chunks, size = out.Chunks[:0], 0
			}
		}
		if err := it.Err(); err != nil {
			return a.failed(ctx, readingStored, err)
		}
		if len(out.Chunks) > 0 {
			if err := frame(w, query, out); err != nil {
				return err
			}
		}
	}
	return set.Err()
}

func frame(w io.Writer, query int64, s *prompb.ChunkedSeries) error {
	m := prompb.ChunkedReadResponse{ChunkedSeries: []*prompb.ChunkedSeries{s}, QueryIndex: query}
	data, err := m.Marshal()
	if err != nil {
		return fmt.Errorf("writing a frame: %w", err)
	}
	head := binary.AppendUvarint(nil, uint64(len(data)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	if _, err := w.Write(append(head, data...)); err != nil {
		return &cutError{err}
	}
	return nil
}

// cutError is a client that is gone.
type cutError struct{ err error }

// Error is why.
func (e *cutError) Error() string { return "the answer was cut short: " + e.err.Error() }

// Unwrap is the cause.
func (e *cutError) Unwrap() error { return e.err }

// respondStream answers bytes of another form than JSON. An error before the first byte is still told in full; a later one
// breaks the connection, since what was sent must not pass for the whole.
func (a *API) respondStream(w http.ResponseWriter, r *http.Request, x *answer) {
	w.Header().Set("Content-Type", x.stream)
	if x.encoding != "" {
		w.Header().Set("Content-Encoding", x.encoding)
	}
	c := &begun{w: w}
	err := x.write(c)
	switch {
	case err == nil:
	case !c.yes:
		w.Header().Del("Content-Encoding")
		a.refuse(w, r, a.answerTo(err))
	default:
		panic(http.ErrAbortHandler)
	}
}

type begun struct {
	w   io.Writer
	yes bool
}

// Write remembers that something was sent.
func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.w.Write(p)
}
