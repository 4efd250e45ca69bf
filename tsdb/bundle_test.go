package tsdb_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/tenant"
)

func id(n byte) uuid.UUID { return uuid.UUID{0: 0x77, 15: n} }

func org(n byte) tenant.OrgID { return tenant.OrgID{UUID: uuid.UUID{0: 0x0f, 15: n}} }

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05.999999", s)
	if err != nil {
		panic(err)
	}
	return t
}

// topic makes the records of one partition of a log, stamped by one appender.
type topic struct {
	recs     []record.Entry
	appender uint64
	seq      uint64
	now      time.Time
}

func newTopic() *topic { return &topic{appender: 9, now: at("2026-03-01 12:00:00")} }

func (l *topic) add(rec []byte) {
	l.seq++
	record.Stamp(rec, l.appender, l.seq, l.now)
	l.append(rec)
	l.now = l.now.Add(time.Millisecond)
}

func (l *topic) append(rec []byte) {
	l.recs = append(l.recs, record.Entry{Offset: int64(len(l.recs)), Value: rec})
}

func (l *topic) ping(p record.Ping) { l.add(record.AppendPing(nil, &p)) }

func (l *topic) marker() { l.add(record.AppendMarker(nil, record.Marker{Since: l.now})) }

// simple is a ping with nothing in it that matters.
func simple(n byte) record.Ping {
	return record.Ping{
		ID: id(n), Org: org(1), Monitor: id(200), Kind: record.Success, ExitCode: record.NoExitCode, Duration: record.NoDuration,
		RemoteAddr: "192.0.2.1", UserAgent: "curl/8", Method: "GET",
	}
}

// logBuffer is a logger and what it wrote.
func logBuffer() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func ctxFor(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
