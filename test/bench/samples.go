package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/tokiflow/tokiflow/core/series"
)

// A fleet as node_exporter shows it: series times rounds, 15 s apart, in requests of a sender's usual size.
const (
	hosts         = 20
	seriesOfHost  = 500
	rounds        = 120
	perRequest    = 2000
	senders       = 4
	writtenMetric = "tokiflow_samples_written_total"
)

// measureRemoteWrite: samples a second from HTTP to the database, while they are taken and until the last is stored.
func measureRemoteWrite(ctx context.Context, s settings, brokers string) error {
	srv, err := newServer(s)
	if err != nil {
		return err
	}
	defer func() { _ = srv.remove() }()
	if err := srv.start(ctx, brokers); err != nil {
		return err
	}
	const total = hosts * seriesOfHost * rounds
	requests := make([][][]byte, senders)
	now := time.Now().Add(-rounds * 15 * time.Second).Truncate(15 * time.Second)
	for sender := range senders {
		requests[sender], err = fleet(sender, now)
		if err != nil {
			return err
		}
	}
	began := time.Now()
	if err := sendAll(ctx, srv.base+"/prometheus/api/v1/write", requests); err != nil {
		return err
	}
	taken := time.Since(began)
	for {
		n, err := srv.metric(ctx, writtenMetric)
		if err != nil {
			return err
		}
		if n >= total {
			break
		}
		if time.Since(began) > 10*time.Minute {
			return fmt.Errorf("%.0f of %d samples stored after ten minutes", n, total)
		}
		time.Sleep(20 * time.Millisecond)
	}
	stored := time.Since(began)
	fmt.Printf("%d samples of %d series, %d senders with %d a request: answered %.0f/s, stored %.0f/s\n",
		total, hosts*seriesOfHost, senders, perRequest, total/taken.Seconds(), total/stored.Seconds())
	return nil
}

// fleet is what one sender has to send: its share of the hosts, round by round.
func fleet(sender int, from time.Time) ([][]byte, error) {
	var out [][]byte
	var req prompb.WriteRequest
	flush := func() error {
		if len(req.Timeseries) == 0 {
			return nil
		}
		b, err := req.Marshal()
		if err != nil {
			return err
		}
		out = append(out, snappy.Encode(nil, b))
		req.Timeseries = req.Timeseries[:0]
		return nil
	}
	for round := range rounds {
		at := from.Add(time.Duration(round) * 15 * time.Second).UnixMilli()
		for host := sender; host < hosts; host += senders {
			for i := range seriesOfHost {
				req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
					Labels: []prompb.Label{
						{Name: series.NameLabel, Value: fmt.Sprintf("node_metric_%d_seconds_total", i/8)},
						{Name: "cpu", Value: fmt.Sprint(i % 8)},
						{Name: "instance", Value: fmt.Sprintf("host-%d.example.org:9100", host)},
						{Name: "job", Value: "node"},
						{Name: "mode", Value: "idle"},
					},
					Samples: []prompb.Sample{{Timestamp: at, Value: float64(round*i) * 1.5}},
				})
				if len(req.Timeseries) == perRequest {
					if err := flush(); err != nil {
						return nil, err
					}
				}
			}
		}
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sendAll sends each sender's requests in order, the senders at the same time.
func sendAll(ctx context.Context, url string, requests [][][]byte) error {
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for _, list := range requests {
		wg.Go(func() {
			for _, body := range list {
				if err := post(ctx, url, body); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// post is one remote-write request, sent again as a sender does while the server is not ready for it.
func post(ctx context.Context, url string, body []byte) error {
	for range 100 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set("Content-Encoding", "snappy")
		req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
		req.Header.Set("Authorization", "Bearer "+apiKey)
		res, err := http.DefaultClient.Do(req) //nolint:gosec // our own server
		if err != nil {
			return err
		}
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		_ = res.Body.Close()
		switch {
		case res.StatusCode < 300:
			return nil
		case res.StatusCode != http.StatusServiceUnavailable && res.StatusCode != http.StatusTooManyRequests:
			return fmt.Errorf("remote write answered %d: %s", res.StatusCode, text)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("remote write was refused a hundred times")
}
