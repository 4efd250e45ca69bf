package ingest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tokiflow/tokiflow/core/record"
)

func FuzzBatch(f *testing.F) {
	for _, s := range []string{
		lines(2), "[" + strings.TrimSpace(lines(1)) + "]", `{"slug":"a","kind":"fail","exit_code":3,"duration":0.1,"body":"\u0000x","rid":"` + runID + `"}`,
		"[", "[1,2]", "{}\n\n[]", "\xef\xbb\xbf[]", `{"duration":1e400}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		next := 0
		err := splitBatch(data, func(i int, one []byte) {
			if i != next {
				t.Fatalf("ping %d came as number %d", i, next)
			}
			next++
			p, err := parseBatchPing(one)
			if err != nil {
				if err.Error() == "" {
					t.Fatal("rejected without a word")
				}
				return
			}
			if !json.Valid(one) {
				t.Fatalf("%q is no JSON, but a ping", one)
			}
			rec := record.AppendPing(nil, &record.Ping{Kind: p.kind, ExitCode: p.exit, Duration: p.duration, RID: p.rid, Body: p.body})
			if _, err := record.ParsePing(rec); err != nil {
				t.Fatalf("%q makes a record that cannot be read: %v", one, err)
			}
		})
		if next > maxBatchPings || err == nil && json.Valid(data) && bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) && next == 0 && len(bytes.Trim(data, " \t\r\n[]")) > 0 {
			t.Fatalf("%d pings of %q", next, data)
		}
	})
}

// FuzzInflate feeds the decoders: no more is unpacked than may be, and nothing is left behind.
func FuzzInflate(f *testing.F) {
	f.Add([]byte("\x1f\x8b"), "gzip")
	f.Add([]byte("\x28\xb5\x2f\xfd"), "zstd")
	f.Add([]byte("x"), "")
	p := new(inflaters)
	f.Fuzz(func(t *testing.T, data []byte, encoding string) {
		out, err := p.readAll(bytes.NewReader(data), encoding)
		if len(out) > maxBatch || err != nil && out != nil && len(out) > 0 {
			t.Fatalf("%d bytes and %v", len(out), err)
		}
	})
}
