package promapi_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/promapi"
)

// broken is a series whose samples cannot be read.
type broken struct{ storage.Series }

type brokenIterator struct{ chunkenc.Iterator }

func (broken) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return brokenIterator{chunkenc.NewNopIterator()}
}

func (brokenIterator) Err() error { return errors.New("the disk is gone") }

// TestHalfAStreamDoesNotPassForAWhole breaks the reading behind the first series.
func TestHalfAStreamDoesNotPassForAWhole(t *testing.T) {
	b := newBench(t, nil, func(o *promapi.Options) {
		o.Stored = func(tenant.OrgID) storage.Queryable {
			return (&stored{list: []storage.Series{written(1, "load", "n", "1"), broken{written(1, "load", "n", "2")}}}).queryable()
		}
	})
	data, err := selects(ago("1h"), now(), "load", prompb.ReadRequest_STREAMED_XOR_CHUNKS).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+"/prometheus/api/v1/read", bytes.NewReader(snappy.Encode(nil, data)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", "key-1")
	resp, err := b.server.Client().Do(r)
	if err == nil {
		defer func() { _ = resp.Body.Close() }()
		_, err = io.ReadAll(resp.Body)
	}
	if err == nil {
		t.Error("the answer came to an end as if it were whole")
	}
	// As samples nothing was sent yet: the error is told.
	whole, body := b.read(selects(ago("1h"), now(), "load", prompb.ReadRequest_SAMPLES))
	if whole.StatusCode != 500 || bytes.Contains(body, []byte("disk")) {
		t.Errorf("%d %s", whole.StatusCode, body)
	}
}
