package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tokiflow/tokiflow/core/record"
)

func (b *bundle) batch(body io.Reader, header ...string) reply {
	b.t.Helper()
	return b.do(http.MethodPost, batchPath, body, append([]string{"Authorization", "Bearer " + apiKeyAll}, header...)...)
}

// taken reads an answer 200.
func (r reply) taken(t *testing.T) batchAnswer {
	t.Helper()
	var a batchAnswer
	if err := json.Unmarshal([]byte(r.body), &a); err != nil || r.status != 200 {
		t.Fatalf("answered %d %q", r.status, r.body)
	}
	return a
}

// problem reads an RFC 9457 answer.
func (r reply) problem(t *testing.T, status int) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil || r.status != status || p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" {
		t.Errorf("answered %d %q, want a problem of status %d", r.status, r.body, status)
	}
	if got := r.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	return p
}

func lines(n int) string {
	return strings.Repeat(fmt.Sprintf("{\"key\":%q,\"kind\":\"log\"}\n", mainKey), n)
}

func TestBatch(t *testing.T) {
	b := start(t, func(o *Options) { o.BodyLimit = 20 })
	in := []string{
		`{"key":"` + mainKey + `","kind":"start","rid":"` + strings.ToUpper(runID) + `"}`,
		`{"slug":"main-job","kind":"fail","exit_code":3,"duration":1.5,"body":"token=abc and more than is kept"}`,
		`{"key":"` + mainKey + `","kind":"success","exit_code":0}`,
		`{"key":"` + mainKey + `","kind":"success","exit_code":1}`, // says success, ends with 1
		`{"key":"` + mainKey + `","kind":"log","rid":null,"exit_code":null,"duration":null,"body":null}`,
	}
	main := mainTarget()
	ping := func(change func(*record.Ping)) record.Ping {
		p := record.Ping{
			Org: main.Org, Monitor: main.Monitor, ExitCode: record.NoExitCode, Duration: record.NoDuration,
			RemoteAddr: "127.0.0.1", UserAgent: "test/1", Method: "POST",
		}
		change(&p)
		return p
	}
	want := []record.Ping{
		ping(func(p *record.Ping) { p.Kind, p.RID = record.Start, uuid.MustParse(runID) }),
		ping(func(p *record.Ping) {
			p.Kind, p.ExitCode, p.Duration = record.Fail, 3, 1500*time.Millisecond
			p.BodySize, p.Body = 31, []byte("token=[redacted] and")
		}),
		ping(func(p *record.Ping) { p.Kind, p.ExitCode = record.Success, 0 }),
		ping(func(p *record.Ping) { p.Kind, p.ExitCode = record.Fail, 1 }),
		ping(func(p *record.Ping) { p.Kind = record.Log }),
	}
	for name, body := range map[string]string{
		"NDJSON":            strings.Join(in, "\n"),
		"NDJSON with blank": "\n\r\n" + strings.Join(in, "\r\n \n") + "\n\n",
		"with BOM":          "\xef\xbb\xbf" + strings.Join(in, "\n"),
		"array":             " [" + strings.Join(in, ",\n") + "] ",
	} {
		b.log.pings, b.log.calls = nil, 0
		a := b.batch(strings.NewReader(body), "User-Agent", "test/1").taken(t)
		if a.Accepted != len(in) || len(a.Rejected) != 0 {
			t.Errorf("%s: %+v", name, a)
		}
		if d := cmp.Diff(want, b.log.all(), cmpopts.IgnoreFields(record.Ping{}, "ID", "At"), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s is stored wrongly (-want +got):\n%s", name, d)
		}
		if b.log.calls != 1 {
			t.Errorf("%s: %d appends for one partition", name, b.log.calls)
		}
	}
}

func TestABadLineRejectsItselfOnly(t *testing.T) {
	b := start(t, nil)
	k := `"key":"` + mainKey + `"`
	var in []string
	var want []rejected
	for _, c := range []struct{ line, err string }{
		{`{` + k + `,"kind":"success"}`, ""},
		{`{` + k + `,"kind":"success"`, "not valid JSON: it ends early"},
		{`{` + k + `,"kind":"success"} {}`, "something follows the JSON object on this line"},
		{`nonsense`, "not valid JSON: invalid character 'o' in literal null (expecting 'u')"},
		{`5`, "not a JSON object"},
		{`null`, "key or slug is missing"},
		{`{"kind":"success"}`, "key or slug is missing"},
		{`{` + k + `,"slug":"main-job","kind":"success"}`, "give key or slug, not both"},
		{`{` + k + `}`, "kind is missing: success, start, fail or log"},
		{`{` + k + `,"kind":"done"}`, "invalid kind: success, start, fail or log"},
		{`{` + k + `,"kind":"fail","rid":"1"}`, "invalid uuid format"},
		{`{` + k + `,"kind":"fail","exit_code":256}`, "invalid exit_code: 0 to 255"},
		{`{` + k + `,"kind":"fail","exit_code":-1}`, "invalid exit_code: 0 to 255"},
		{`{` + k + `,"kind":"fail","exit_code":"1"}`, "exit_code must not be a string"},
		{`{` + k + `,"kind":"fail","duration":-1}`, "invalid duration: seconds from 0"},
		{`{` + k + `,"kind":"fail","duration":1e99}`, "invalid duration: seconds from 0"},
		{`{` + k + `,"kind":"fail","exitcode":1}`, `unknown field "exitcode"`},
		{`{` + k + `,"kind":"fail","at":"2020-01-01T00:00:00Z"}`, `unknown field "at"`},
		{`{"key":"` + noKey + `","kind":"fail"}`, "not found"},
		{`{"key":"` + otherKey + `","kind":"fail"}`, "not found"}, // another organisation's
		{`{"key":"` + strings.ToUpper(mainKey) + `","kind":"fail"}`, "not found"},
		{`{"key":"","kind":"fail"}`, "not found"},
		{`{"slug":"other-job","kind":"fail"}`, "not found"},
		{`{"slug":"Main-Job","kind":"fail"}`, "invalid slug: it has the characters a-z, 0-9, - and _"},
		{`{"slug":"","kind":"fail"}`, "invalid slug: it has the characters a-z, 0-9, - and _"},
		{`{"slug":"twin","kind":"fail"}`, "ambiguous slug"},
		{`{"slug":"shared","kind":"fail"}`, "ambiguous slug"}, // over two projects
		{`{"slug":"main-job","kind":"fail"}`, ""},
	} {
		if c.err != "" {
			want = append(want, rejected{Index: len(in), Error: c.err})
		}
		in = append(in, c.line)
	}
	a := b.batch(strings.NewReader(strings.Join(in, "\n"))).taken(t)
	if d := cmp.Diff(batchAnswer{Accepted: 2, Rejected: want}, a); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	b.log.last(t, 2)

	// An array whose element is well-formed JSON, but no ping.
	a = b.batch(strings.NewReader(`[{` + k + `,"kind":"log"},7,{` + k + `,"kind":"log"}]`)).taken(t)
	if d := cmp.Diff(batchAnswer{Accepted: 2, Rejected: []rejected{{1, "not a JSON object"}}}, a); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// A broken array cannot be taken apart: nothing of it is taken.
	for _, body := range []string{`[{` + k + `,"kind":"log"},`, `[{` + k + `,"kind":"log"} 7]`, `[] x`, `[[`, `[`} {
		b.batch(strings.NewReader(body)).problem(t, 400)
	}
	b.log.last(t, 4)
}

func packed(t *testing.T, encoding string, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	case "zstd":
		z, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBatchLimits(t *testing.T) {
	b := start(t, nil)
	filler := func(size int) []byte {
		return append([]byte(lines(1)), bytes.Repeat([]byte{' '}, size-len(lines(1)))...)
	}
	for _, c := range []struct {
		name   string
		body   []byte
		coding string
		status int
	}{
		{"10,000 pings", []byte(lines(maxBatchPings)), "", 200},
		{"10,001 pings", []byte(lines(maxBatchPings + 1)), "", 413},
		{"10,001 elements", []byte("[" + strings.Repeat("0,", maxBatchPings) + "0]"), "", 413},
		{"8 MiB", filler(maxBatch), "", 200},
		{"8 MiB and 1", filler(maxBatch + 1), "", 413},
		{"8 MiB, gzip", packed(t, "gzip", filler(maxBatch)), "gzip", 200},
		{"8 MiB, zstd", packed(t, "zstd", filler(maxBatch)), "zstd", 200},
		{"8 MiB and 1, gzip", packed(t, "gzip", filler(maxBatch+1)), "gzip", 413},
		{"8 MiB and 1, zstd", packed(t, "zstd", filler(maxBatch+1)), "zstd", 413},
		{"a bomb, gzip", packed(t, "gzip", make([]byte, 16<<20)), "gzip", 413},
		{"a bomb, zstd", packed(t, "zstd", make([]byte, 16<<20)), "zstd", 413},
		{"upper case", packed(t, "gzip", []byte(lines(1))), "GZIP", 200},
		{"x-gzip", packed(t, "gzip", []byte(lines(1))), "x-gzip", 200},
		{"identity", []byte(lines(1)), "identity", 200},
		{"twice gzip", packed(t, "gzip", []byte(lines(1))), "gzip, gzip", 415},
		{"brotli", []byte(lines(1)), "br", 415},
		{"not gzip", []byte(lines(1)), "gzip", 400},
		{"not zstd", []byte(lines(1)), "zstd", 400},
		{"half of it, gzip", packed(t, "gzip", []byte(lines(5)))[:40], "gzip", 400},
		{"half of it, zstd", packed(t, "zstd", []byte(lines(5)))[:40], "zstd", 400},
		{"nothing", nil, "", 200},
		{"a huge window", []byte("\x28\xb5\x2f\xfd\x00\xb0\x01\x00\x00"), "zstd", 400},
	} {
		for _, chunked := range []bool{false, true} {
			if chunked && c.coding != "" {
				continue
			}
			body := io.Reader(bytes.NewReader(c.body))
			if chunked {
				body = io.MultiReader(body)
			}
			var got reply
			if c.coding == "" {
				got = b.batch(body)
			} else {
				got = b.batch(body, "Content-Encoding", c.coding)
			}
			if got.status != c.status {
				t.Errorf("%s (chunked: %v): %d %q, want %d", c.name, chunked, got.status, got.body, c.status)
			}
			if c.status >= 400 {
				got.problem(t, c.status)
			}
		}
	}
}

func TestABatchThatIsNotDurablePromisesNothing(t *testing.T) {
	b := start(t, func(o *Options) { o.RateLimit = 1 })
	b.log.setFail(errors.New("disk full"))
	for range 3 { // more than the rate limit
		got := b.batch(strings.NewReader(lines(2)))
		if p := got.problem(t, 503); !strings.Contains(p.Detail, "nothing is promised") {
			t.Errorf("detail %q", p.Detail)
		}
		if got.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	b.log.setFail(nil)
	b.batch(strings.NewReader(lines(2))).taken(t)
	got := b.batch(strings.NewReader(lines(2)))
	got.problem(t, 429)
	if got.header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After %q", got.header.Get("Retry-After"))
	}
	b.log.last(t, 2)
	b.do(http.MethodPost, batchPath, strings.NewReader(lines(1)), "X-Api-Key", "tkf_second").taken(t) // its own limit
}

// TestBatchOverAllPartitions: each partition gets its pings in the order of the batch.
func TestBatchOverAllPartitions(t *testing.T) {
	b := start(t, nil)
	var body strings.Builder
	for i := range 20 {
		target := targetOf(orgA(), projA(), uuid.NewString(), fmt.Sprintf("job-%d", i))
		b.src.set(target)
	}
	for i := range 2000 {
		fmt.Fprintf(&body, "{\"slug\":\"job-%d\",\"kind\":\"log\",\"body\":\"%d\"}\n", i%20, i)
	}
	if a := b.batch(strings.NewReader(body.String())).taken(t); a.Accepted != 2000 {
		t.Fatalf("%+v", a)
	}
	last := map[uuid.UUID]int{}
	for _, p := range b.log.all() {
		var n int
		if _, err := fmt.Sscan(string(p.Body), &n); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[p.Monitor]; ok && before >= n {
			t.Fatalf("ping %d came behind %d", before, n)
		}
		last[p.Monitor] = n
	}
	if len(last) != 20 || b.log.calls > 4 {
		t.Errorf("%d monitors, %d appends", len(last), b.log.calls)
	}
}
