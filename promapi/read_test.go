package promapi_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/promapi"
)

// reply is an answer's head.
type reply struct {
	StatusCode int
	Header     http.Header
}

func (b *bench) read(req *prompb.ReadRequest) (reply, []byte) {
	b.t.Helper()
	data, err := req.Marshal()
	if err != nil {
		b.t.Fatal(err)
	}
	return b.readBytes(snappy.Encode(nil, data))
}

func (b *bench) readBytes(body []byte) (reply, []byte) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.server.URL+"/prometheus/api/v1/read", bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("Content-Encoding", "snappy")
	r.SetBasicAuth("any", "key-1")
	resp, err := b.server.Client().Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header}, got
}

func selects(from, to time.Time, name string, kinds ...prompb.ReadRequest_ResponseType) *prompb.ReadRequest {
	return &prompb.ReadRequest{AcceptedResponseTypes: kinds, Queries: []*prompb.Query{{
		StartTimestampMs: from.UnixMilli(), EndTimestampMs: to.UnixMilli(),
		Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_RE, Name: "__name__", Value: name}},
	}}}
}

// point is a sample of either kind.
type point struct {
	T     int64
	V     float64
	Stale bool
}

func readBench(t *testing.T) *bench {
	l := born(1, "a", ago("1h")).run(ago("40s"), monitor.Succeeded, time.Second).turns(ago("20s"), monitor.Down).deleted(ago("1s"))
	return newBench(t, lives(l), func(o *promapi.Options) {
		o.Stored = func(tenant.OrgID) storage.Queryable {
			return (&stored{list: []storage.Series{written(7, "load")}}).queryable()
		}
	})
}

func wantRead() map[string][]point {
	at := func(s string) int64 { return ago(s).UnixMilli() }
	return map[string][]point{
		"tokiflow_monitor_up":                   {{T: at("45s"), V: 1}, {T: at("30s"), V: 1}, {T: at("15s")}, {T: at("0s"), Stale: true}},
		"tokiflow_monitor_run_duration_seconds": {{T: at("45s")}, {T: at("30s"), V: 1}, {T: at("15s"), V: 1}, {T: at("0s"), Stale: true}},
	}
}

func TestRemoteReadSamples(t *testing.T) {
	b := readBench(t)
	resp, body := b.read(selects(ago("45s"), now(), "tokiflow_monitor_(up|run_duration_seconds)|load"))
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/x-protobuf" || resp.Header.Get("Content-Encoding") != "snappy" {
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	data, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var got prompb.ReadResponse
	if err := got.Unmarshal(data); err != nil || len(got.Results) != 1 {
		t.Fatal(err, len(got.Results))
	}
	found := map[string][]point{}
	for _, s := range got.Results[0].Timeseries {
		name := s.Labels[0].Value
		for _, x := range s.Samples {
			found[name] = append(found[name], pointOf(x.Timestamp, x.Value))
		}
		for _, x := range s.Histograms {
			if value.IsStaleNaN(x.Sum) {
				found[name] = append(found[name], point{T: x.Timestamp, Stale: true})
			} else {
				found[name] = append(found[name], point{T: x.Timestamp, V: float64(x.GetCountInt())})
			}
		}
	}
	compareRead(t, found)
}

func pointOf(t int64, v float64) point {
	if value.IsStaleNaN(v) {
		return point{T: t, Stale: true}
	}
	return point{T: t, V: v}
}

func compareRead(t *testing.T, found map[string][]point) {
	t.Helper()
	want := wantRead()
	if len(found["load"]) != 61 {
		t.Errorf("load has %d samples, want 61", len(found["load"]))
	}
	want["load"] = found["load"]
	if d := cmp.Diff(want, found); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestRemoteReadChunks(t *testing.T) {
	b := readBench(t)
	resp, body := b.read(selects(ago("45s"), now(), "tokiflow_monitor_(up|run_duration_seconds)|load", prompb.ReadRequest_STREAMED_XOR_CHUNKS, prompb.ReadRequest_SAMPLES))
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse" {
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	found := map[string][]point{}
	last := ""
	for r := bytes.NewReader(body); r.Len() > 0; {
		for _, s := range nextFrame(t, r).ChunkedSeries {
			name := s.Labels[0].Value
			if name < last {
				t.Errorf("%s comes after %s: streams are sorted", name, last)
			}
			last = name
			for _, c := range s.Chunks {
				found[name] = append(found[name], unpack(t, c)...)
			}
		}
	}
	compareRead(t, found)
}

func nextFrame(t *testing.T, r *bytes.Reader) prompb.ChunkedReadResponse {
	t.Helper()
	n, err := binary.ReadUvarint(r)
	if err != nil {
		t.Fatal(err)
	}
	var sum uint32
	if err := binary.Read(r, binary.BigEndian, &sum); err != nil {
		t.Fatal(err)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		t.Fatal(err)
	}
	if crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) != sum {
		t.Fatal("the checksum of a frame is wrong")
	}
	var f prompb.ChunkedReadResponse
	if err := f.Unmarshal(data); err != nil {
		t.Fatal(err)
	}
	return f
}

func unpack(t *testing.T, c prompb.Chunk) []point {
	t.Helper()
	chunk, err := chunkenc.FromData(chunkenc.Encoding(c.Type), c.Data)
	if err != nil {
		t.Fatal(err)
	}
	var out []point
	it := chunk.Iterator(nil)
	for k := it.Next(); k != chunkenc.ValNone; k = it.Next() {
		if k == chunkenc.ValFloat {
			out = append(out, pointOf(it.At()))
			continue
		}
		at, h := it.AtHistogram(nil)
		if value.IsStaleNaN(h.Sum) {
			out = append(out, point{T: at, Stale: true})
		} else {
			out = append(out, point{T: at, V: float64(h.Count)})
		}
	}
	if len(out) > 0 && (c.MinTimeMs != out[0].T || c.MaxTimeMs != out[len(out)-1].T) {
		t.Errorf("a chunk says %d to %d and is %d to %d", c.MinTimeMs, c.MaxTimeMs, out[0].T, out[len(out)-1].T)
	}
	return out
}

func TestRemoteReadRefuses(t *testing.T) {
	b := newBench(t, lives(born(1, "a", ago("1h"))), func(o *promapi.Options) { o.Limits.MaxSamples = 10 })
	for name, c := range map[string]struct {
		body   []byte
		status int
		want   string
	}{
		"no snappy":   {[]byte("\xff\xff\xff\xff\xff\xff"), 400, "not snappy"},
		"no message":  {snappy.Encode(nil, []byte("\xff\xff")), 400, "not a ReadRequest"},
		"a bomb":      {append(binary.AppendUvarint(nil, 1<<31), 1), 400, "larger than"},
		"a matcher":   {packed(t, &prompb.ReadRequest{Queries: []*prompb.Query{{Matchers: []*prompb.LabelMatcher{{Type: 9}}}}}), 400, "unknown type 9"},
		"a regexp":    {packed(t, &prompb.ReadRequest{Queries: []*prompb.Query{{Matchers: []*prompb.LabelMatcher{{Type: 2, Value: "("}}}}}), 400, "missing closing"},
		"a type":      {packed(t, &prompb.ReadRequest{AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{7}}), 400, "accept SAMPLES"},
		"too much":    {packed(t, selects(ago("30m"), now(), "tokiflow_monitor_up")), 422, "more than 10 samples"},
		"chunks fail": {packed(t, &prompb.ReadRequest{AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{1}, Queries: []*prompb.Query{{Matchers: []*prompb.LabelMatcher{{Type: 9}}}}}), 400, "unknown type 9"},
	} {
		resp, got := b.readBytes(c.body)
		if resp.StatusCode != c.status || !strings.Contains(string(got), c.want) || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %d %s", name, resp.StatusCode, got)
		}
	}
}

func packed(t *testing.T, req *prompb.ReadRequest) []byte {
	t.Helper()
	data, err := req.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, data)
}
