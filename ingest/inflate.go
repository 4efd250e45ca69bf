package ingest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxBatch is the size of a batch, in bytes, compressed or not.
const maxBatch = 8 << 20

// maxWindow is how far back a zstd frame may refer, in bytes: what its levels up to 19 use.
const maxWindow = 8 << 20

var (
	errTooLarge = errors.New("too large")
	errEncoding = errors.New("unknown content encoding")
)

// inflaters keeps decoders for the next batch: making one costs more than most batches.
type inflaters struct{ gzip, zstd sync.Pool }

// readAll reads a body of the given Content-Encoding, up to maxBatch bytes of what it stands for: no more is ever
// unpacked than that. The error is errTooLarge, errEncoding, or says what is wrong with the body.
func (p *inflaters) readAll(body io.Reader, encoding string) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return readLimited(body)
	case "gzip", "x-gzip":
		return p.gunzip(body)
	case "zstd":
		return p.unzstd(body)
	}
	return nil, errEncoding
}

func readLimited(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBatch+1))
	if err == nil && len(data) > maxBatch {
		return nil, errTooLarge
	}
	return data, err
}

func (p *inflaters) gunzip(r io.Reader) ([]byte, error) {
	z, ok := p.gzip.Get().(*gzip.Reader)
	if !ok {
		z = new(gzip.Reader)
	}
	if err := z.Reset(r); err != nil {
		return nil, fmt.Errorf("not gzip: %w", err)
	}
	data, err := readLimited(z)
	if err != nil {
		return nil, err
	}
	p.gzip.Put(z)
	return data, nil
}

func (p *inflaters) unzstd(r io.Reader) ([]byte, error) {
	z, ok := p.zstd.Get().(*zstd.Decoder)
	if !ok {
		var err error
		// One goroutine, ours: nothing is left behind when the pool lets the decoder go.
		if z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true)); err != nil {
			return nil, err
		}
	}
	if err := z.Reset(r); err != nil {
		return nil, fmt.Errorf("not zstd: %w", err)
	}
	data, err := readLimited(z)
	if err != nil {
		z.Close()
		return nil, err
	}
	if err := z.Reset(nil); err == nil {
		p.zstd.Put(z)
	}
	return data, nil
}
