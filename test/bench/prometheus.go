package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/tokiflow/tokiflow/core/series"
)

// promServer is a Prometheus process.
type promServer struct {
	cmd  *exec.Cmd
	base string
}

// startPrometheus starts the Prometheus of the tests, which scrapes nothing and takes remote write.
func startPrometheus(ctx context.Context, dir string) (*promServer, error) {
	said, err := exec.CommandContext(ctx, "test/services/prometheus.sh", "install").Output()
	if err != nil {
		return nil, fmt.Errorf("building Prometheus: %w", err)
	}
	var program string
	for line := range strings.Lines(string(said)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "TOKIFLOW_TEST_PROMETHEUS="); ok {
			program = path
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		return nil, err
	}
	p := &promServer{base: "http://" + address}
	p.cmd = exec.CommandContext(ctx, program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "prometheus"), //nolint:gosec // what we built
		"--web.listen-address="+address, "--web.enable-remote-write-receiver", "--log.level=error")
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.Stdout, p.cmd.Stderr = os.Stderr, os.Stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := get(ctx, p.base+"/-/ready"); err == nil {
			return p, nil
		}
	}
	p.stop()
	return nil, errors.New("after a minute Prometheus is not ready")
}

func (p *promServer) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// copied are the metrics that the queries ask for, as a regular expression.
const copied = "tokiflow_monitor_(up|info|runs_total|last_run_duration_seconds|last_success_timestamp_seconds|run_duration_seconds_bucket)"

// copySamples writes into a Prometheus what Tokiflow says that one would have scraped in (from, to], an hour at a time as
// time went by, and returns how many samples that is.
func copySamples(ctx context.Context, ours, theirs string, from, to time.Time) (int, error) {
	n := 0
	for ; from.Before(to); from = from.Add(time.Hour) {
		body, err := remoteRead(ctx, ours+"/prometheus/api/v1/read", from.UnixMilli()+1, from.Add(time.Hour).UnixMilli())
		if err != nil {
			return n, err
		}
		w := copier{ctx: ctx, to: theirs + "/api/v1/write"}
		err = w.frames(bufio.NewReaderSize(body, 1<<20))
		_ = body.Close()
		if err == nil {
			err = w.flush()
		}
		if err != nil {
			return n, err
		}
		n += w.all
	}
	return n, nil
}

// remoteRead asks for the chunks of a window.
func remoteRead(ctx context.Context, to string, from, until int64) (io.ReadCloser, error) {
	data, err := (&prompb.ReadRequest{
		Queries: []*prompb.Query{{
			StartTimestampMs: from, EndTimestampMs: until,
			Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_RE, Name: series.NameLabel, Value: copied}},
		}},
		AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS},
	}).Marshal()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(snappy.Encode(nil, data)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Encoding", "snappy")
	res, err := http.DefaultClient.Do(req) //nolint:gosec // our own server
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		_ = res.Body.Close()
		return nil, fmt.Errorf("remote read answered %d: %s", res.StatusCode, text)
	}
	return res.Body, nil
}

// copier turns frames of remote read into requests of remote write.
type copier struct {
	ctx  context.Context
	to   string
	req  prompb.WriteRequest
	held int
	all  int
}

// frames reads frames until the end: a length, a checksum, a message.
func (c *copier) frames(r *bufio.Reader) error {
	var data []byte
	for {
		n, err := binary.ReadUvarint(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := r.Discard(4); err != nil {
			return err
		}
		data = append(data[:0], make([]byte, n)...)
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		var m prompb.ChunkedReadResponse
		if err := m.Unmarshal(data); err != nil {
			return err
		}
		for _, s := range m.ChunkedSeries {
			if err := c.series(s); err != nil {
				return err
			}
		}
	}
}

func (c *copier) series(s *prompb.ChunkedSeries) error {
	out := prompb.TimeSeries{Labels: s.Labels}
	for _, k := range s.Chunks {
		if k.Type != prompb.Chunk_XOR {
			return nil // a native histogram: the name of the classic one matches no other
		}
		x, err := chunkenc.FromData(chunkenc.EncXOR, k.Data)
		if err != nil {
			return err
		}
		it := x.Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			t, v := it.At()
			out.Samples = append(out.Samples, prompb.Sample{Timestamp: t, Value: v})
		}
		if err := it.Err(); err != nil {
			return err
		}
	}
	c.req.Timeseries = append(c.req.Timeseries, out)
	if c.held += len(out.Samples); c.held >= 100_000 {
		return c.flush()
	}
	return nil
}

func (c *copier) flush() error {
	if c.held == 0 {
		return nil
	}
	data, err := c.req.Marshal()
	if err != nil {
		return err
	}
	c.all += c.held
	c.req.Timeseries, c.held = c.req.Timeseries[:0], 0
	return post(c.ctx, c.to, snappy.Encode(nil, data))
}
