package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
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

// FuzzScan holds the quick reader of a ping against encoding/json.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		strings.TrimSpace(lines(1)), `{"slug":"a","kind":"fail","exit_code":3,"duration":0.1,"body":"é","rid":"` + runID + `"}`,
		`{}`, `{ "kind" : "log" , }`, `{"duration":01}`, `{"duration":1.}`, `{"duration":.5}`, `{"exit_code":1.0}`, `{"exit_code":9999999999999999999}`,
		`{"key":"a","key":"b"}`, `{"body":"\n"}`, "{\"body\":\"\xff\"}", `{"body":null}`, `{"KEY":""}`, `{"slug":"a","kind":"log"} x`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, one []byte) {
		fields, ok := scanFields(one)
		if !ok {
			return
		}
		got, gotErr := fields.ping()
		want, wantErr := decodeBatchPing(one)
		if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
			t.Fatalf("%q: %v, encoding/json: %v", one, gotErr, wantErr)
		}
		if gotErr == nil && (got.key != want.key || got.slug != want.slug || got.kind != want.kind || got.exit != want.exit ||
			got.rid != want.rid || got.duration != want.duration || !bytes.Equal(got.body, want.body)) {
			t.Fatalf("%q: %+v, encoding/json: %+v", one, got, want)
		}
	})
}

// TestPlainPingsAreScanned: what clients send must not fall back to encoding/json.
func TestPlainPingsAreScanned(t *testing.T) {
	for _, s := range []string{
		strings.TrimSpace(lines(1)), `{"slug": "a", "kind": "fail", "exit_code": 3, "duration": 0.125, "body": "disk full", "rid": "` + runID + `"}`, ` {"kind":"log"}` + "\r",
	} {
		if _, ok := scanFields([]byte(s)); !ok {
			t.Errorf("%s is not scanned", s)
		}
	}
}
