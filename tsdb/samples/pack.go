package samples

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// packWindow is the length of time of which samples of a series are packed together. What is in a row of samples_packed is less
// than this apart; a reader relies on it, so it must never become shorter.
const packWindow = 2 * time.Hour

// form is how samples are packed.
type form int16

const (
	formFloats     form = 1 // a chunk as Prometheus has it: XOR of values, differences of differences of times
	formHistograms form = 2 // an S2 block: for each the difference to the time before, length and bytes, the numbers as varints
)

// packSamples is how many samples a row holds at most. A chunk could hold 65,535.
const packSamples = 4096

// errPacked is wrapped by what says that packed samples cannot be read.
var errPacked = errors.New("packed samples cannot be read")

// pack packs points i ≤ n < j, which are in order and all floats or all histograms.
func pack(p *points, i, j int) (form, []byte, error) {
	if p.histogram(i) != nil {
		var raw []byte
		var before int64
		for ; i < j; i++ {
			raw = binary.AppendVarint(raw, p.at[i]-before)
			raw = binary.AppendUvarint(raw, uint64(len(p.histograms[i])))
			raw = append(raw, p.histograms[i]...)
			before = p.at[i]
		}
		return formHistograms, s2.EncodeBetter(nil, raw), nil
	}
	c := chunkenc.NewXORChunk()
	a, err := c.Appender()
	if err != nil {
		return 0, nil, fmt.Errorf("pack samples: %w", err)
	}
	for ; i < j; i++ {
		a.Append(0, p.at[i], p.values[i])
	}
	return formFloats, c.Bytes(), nil
}

// unpack adds the samples from mint to maxt to p.
func unpack(f form, data []byte, mint, maxt int64, p *points) error {
	switch f {
	case formFloats:
		return unpackFloats(data, mint, maxt, p)
	case formHistograms:
		return unpackHistograms(data, mint, maxt, p)
	}
	return fmt.Errorf("%w: form %d: run the newer tokiflow that wrote it", errPacked, f)
}

func unpackFloats(data []byte, mint, maxt int64, p *points) error {
	if len(data) < 2 {
		return fmt.Errorf("%w: %d bytes", errPacked, len(data))
	}
	c, err := chunkenc.FromData(chunkenc.EncXOR, data)
	if err != nil {
		return fmt.Errorf("%w: %w", errPacked, err)
	}
	it := c.Iterator(nil)
	for it.Next() == chunkenc.ValFloat {
		at, v := it.At()
		if at > maxt {
			return nil
		}
		if at >= mint {
			p.add(at, v, nil)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("%w: %w", errPacked, err)
	}
	return nil
}

func unpackHistograms(data []byte, mint, maxt int64, p *points) error {
	const most = 1 << 30
	if n, err := s2.DecodedLen(data); err != nil || n > most {
		return fmt.Errorf("%w: %d bytes said to be of %d", errPacked, len(data), n)
	}
	raw, err := s2.Decode(nil, data)
	if err != nil {
		return fmt.Errorf("%w: %w", errPacked, err)
	}
	var at int64
	for len(raw) > 0 {
		d, n := binary.Varint(raw)
		if n <= 0 {
			return fmt.Errorf("%w: a time ends early", errPacked)
		}
		size, m := binary.Uvarint(raw[n:])
		if m <= 0 || size > math.MaxInt32 || int(size) > len(raw)-n-m {
			return fmt.Errorf("%w: a histogram ends early", errPacked)
		}
		at += d
		from := n + m
		if at >= mint && at <= maxt {
			p.add(at, 0, raw[from:from+int(size):from+int(size)])
		}
		raw = raw[from+int(size):]
	}
	return nil
}
