package exporter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/tokiflow/tokiflow/core/metric"
)

// format is what an answer is written in, encoding how it is packed; a view is one of each.
type (
	format   int
	encoding int
)

const (
	text format = iota // 0.0.4
	openMetrics
	proto
	formats
)

const (
	identity encoding = iota
	gzip
	zstandard
	encodings
)

// views counts what a block's lines can be kept as: the two text formats share theirs.
const views = 2 * int(encodings)

func viewOf(f format, e encoding) int {
	if f == proto {
		return int(encodings) + int(e)
	}
	return int(e)
}

// chunk is a part of an answer, packed so that it can stand anywhere in one. It never changes.
type chunk struct {
	data   []byte
	raw    int    // bytes unpacked
	sum    uint32 // with gzip: the CRC-32 of those
	shift  uint32 // with gzip: what the CRC-32 of whatever stands before is to be multiplied with
	series int
	// fixed and holes stand for data where some of the values move with time: they are packed anew for each answer.
	fixed []byte
	holes []hole
}

// hole is where a value belongs that moves with time.
type hole struct {
	at   int
	line metric.Line
}

const holeSize = 64

// size is about how many bytes keeping the chunk takes.
func (c *chunk) size() int64 {
	return int64(len(c.data) + len(c.fixed) + len(c.holes)*holeSize)
}

// packers pack. Safe for concurrent use.
//
// A gzip answer is one stream with one header and one checksum, as some clients read no further than the end of the first:
// a chunk is a piece of a deflate stream that refers to nothing before itself and ends at a byte (pigz makes its streams of
// such), and the checksum of the whole comes from those of the chunks. A zstd answer is a frame for each chunk, which
// RFC 8878, 3.1, says is as good as one.
type packers struct {
	deflaters sync.Pool // of *deflater
	zstd      *zstd.Encoder
	powers    [32]uint32 // x^(2^n) modulo the polynomial of CRC-32
}

type deflater struct {
	w   *flate.Writer
	buf bytes.Buffer
}

func newPackers() (*packers, error) {
	p := &packers{}
	p.deflaters.New = func() any {
		d := &deflater{}
		w, err := flate.NewWriter(&d.buf, flate.BestSpeed)
		if err != nil {
			return err
		}
		d.w = w
		return d
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	p.zstd = z
	power := uint32(1) << 30 // x
	for i := range p.powers {
		p.powers[i] = power
		power = multiply(power, power)
	}
	return p, nil
}

// pack makes a chunk of raw, which the caller may use again where it is packed: plain is raw itself.
func (p *packers) pack(e encoding, raw []byte) (*chunk, error) {
	c := &chunk{raw: len(raw)}
	switch e {
	case gzip:
		c.sum, c.shift = crc32.ChecksumIEEE(raw), p.shift(len(raw))
		d, ok := p.deflaters.Get().(*deflater)
		if !ok {
			return nil, errDeflate
		}
		defer p.deflaters.Put(d)
		d.buf.Reset()
		d.w.Reset(&d.buf)
		if _, err := d.w.Write(raw); err != nil {
			return nil, err
		}
		if err := d.w.Flush(); err != nil {
			return nil, err
		}
		c.data = bytes.Clone(d.buf.Bytes())
	case zstandard:
		c.data = p.zstd.EncodeAll(raw, make([]byte, 0, len(raw)/8+64))
	default:
		c.data = raw
	}
	return c, nil
}

var errDeflate = fmt.Errorf("no deflate writer could be made")

// body is an answer of chunks.
type body struct {
	encoding encoding
	pieces   [][]byte
	size     int    // of all pieces
	sum      uint32 // of what stands in them, unpacked
	raw      int
}

func (p *packers) newBody(e encoding) *body {
	b := &body{encoding: e}
	if e == gzip {
		b.add([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}) // deflate, no name, no time, packed fast, by an unknown system
	}
	return b
}

func (b *body) add(piece []byte) {
	b.pieces = append(b.pieces, piece)
	b.size += len(piece)
}

func (b *body) chunk(c *chunk) {
	if c.raw == 0 {
		return
	}
	b.add(c.data)
	b.raw += c.raw
	b.sum = multiply(c.shift, b.sum) ^ c.sum
}

// close ends the stream.
func (b *body) close() {
	if b.encoding == gzip {
		end := []byte{3, 0} // a last, empty deflate block
		end = binary.LittleEndian.AppendUint32(end, b.sum)
		b.add(binary.LittleEndian.AppendUint32(end, uint32(b.raw)))
	}
}

// The arithmetic of CRC-32 (zlib's crc32_combine, https://www.zlib.net/crc_v10.html gives the theory): appending n bytes to a
// message multiplies its checksum with x^8n, as polynomials over GF(2) modulo that of CRC-32, and adds that of the bytes.

// shift is x^8n.
func (p *packers) shift(n int) uint32 {
	r := uint32(1) << 31 // 1
	for k := 3; n > 0; n, k = n>>1, k+1 {
		if n&1 != 0 {
			r = multiply(p.powers[k&31], r)
		}
	}
	return r
}

// multiply multiplies two polynomials, whose coefficients are from the highest bit down.
func multiply(a, b uint32) uint32 {
	var r uint32
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			r ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return r
}
