package instance

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/nflog"
	"github.com/prometheus/alertmanager/nflog/nflogpb"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokiflow/tokiflow/core/alert"
)

const (
	// keepFiring is how long it is remembered that somebody was told of something that fires: longer than the repeat interval of what
	// is acknowledged, or it would be told as new.
	keepFiring = 62 * 24 * time.Hour
	// keepResolved is how long a resolution is remembered: longer than a resolved alert stays in the table, or it would be told again.
	keepResolved = 48 * time.Hour
	// logRetention bounds both, and what a repeat interval of a configuration may ask for.
	logRetention = 120 * 24 * time.Hour
	// occurrencesKey is where a log entry keeps which occurrence of each alert was told.
	occurrencesKey = "tokiflow.occurrences"
)

// logbook is Alertmanager's notification log with three things added. What it takes down is handed to save before Log returns. A later
// entry always counts, whatever the clock says: Alertmanager's takes none that is not later by the clock, and would have the message
// repeated. And it tells the occurrences of an alert apart: of an incident that opened, was resolved unheard (silenced, say) and opened
// again, the log would say that everybody was told of it already, because the labels are the same. An occurrence is named by its start.
type logbook struct {
	inner *nflog.Log
	save  func(alert.LogEntry)
	logs  *slog.Logger

	writing sync.Mutex // one Log at a time
	press   *nflog.Log // makes entries: what a receiver's data holds only it can read
	written []byte     // what it made last
	number  uint64     // of what it made

	mu      sync.Mutex
	flushes map[flushKey]map[uint64]int64 // under way: start of each alert by its hash in the log, Unix microseconds
}

type flushKey struct{ group, receiver string }

// newLogbook opens a log with the entries that were saved. One that cannot be read is left out and logged: what it was about is told again.
func newLogbook(entries []alert.LogEntry, save func(alert.LogEntry), logger *slog.Logger) (*logbook, error) {
	b := &logbook{save: save, logs: logger, flushes: map[flushKey]map[uint64]int64{}}
	var err error
	if b.inner, err = nflog.New(nflog.Options{Retention: logRetention, Logger: logger, Metrics: nowhere{}}); err != nil {
		return nil, fmt.Errorf("opening the notification log: %w", err)
	}
	if b.press, err = nflog.New(nflog.Options{Retention: logRetention, Logger: logger, Metrics: nowhere{}}); err != nil {
		return nil, fmt.Errorf("opening the notification log: %w", err)
	}
	b.press.SetBroadcast(func(body []byte) { b.written = body }) // body is made anew for each entry
	for _, e := range entries {
		_, err := decodeEntry(e.Body)
		if err == nil {
			err = b.inner.Merge(e.Body)
		}
		if err != nil {
			logger.Error("an entry of the notification log cannot be read; its group is told again", "group", e.GroupKey, "receiver", e.Receiver, "err", err)
		}
	}
	return b, nil
}

// begin notes which occurrences a flush is about. end must be called after it.
func (b *logbook) begin(key flushKey, starts map[uint64]int64) (end func()) {
	b.mu.Lock()
	b.flushes[key] = starts
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		delete(b.flushes, key)
		b.mu.Unlock()
	}
}

func (b *logbook) flush(group, receiver string) map[uint64]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.flushes[flushKey{group, receiver}]
}

// Log takes down what was told and waits until it is saved, or until saving it is left to the background.
func (b *logbook) Log(r *nflogpb.Receiver, group string, firing, resolved []uint64, store *nflog.Store, expiry time.Duration) error {
	if store == nil {
		store = nflog.NewStore(nil)
	}
	writeOccurrences(store, b.flush(group, r.GroupName), firing, resolved)
	expiry = max(expiry, keepResolved)
	if len(firing) > 0 {
		expiry = max(expiry, keepFiring)
	}
	m, body, err := b.write(r, group, firing, resolved, store, expiry)
	if err != nil {
		return err
	}
	b.save(alert.LogEntry{
		GroupKey: keyOf(group), Receiver: keyOf(receiverName(r)), LoggedAt: m.Entry.Timestamp.AsTime(), ExpiresAt: m.ExpiresAt.AsTime(), Body: body,
	})
	return nil
}

// write makes an entry that is later than the one before it, and takes it in.
func (b *logbook) write(r *nflogpb.Receiver, group string, firing, resolved []uint64, store *nflog.Store, expiry time.Duration) (*nflogpb.MeshEntry, []byte, error) {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.number++
	if err := b.press.Log(r, strconv.FormatUint(b.number, 10), firing, resolved, store, time.Nanosecond); err != nil {
		return nil, nil, err
	}
	m, err := decodeEntry(b.written)
	if err != nil {
		return nil, nil, err
	}
	b.collect(b.press)
	now := m.Entry.Timestamp.AsTime()
	if before, err := b.inner.Query(nflog.QGroupKey(group), nflog.QReceiver(r)); err == nil && len(before) == 1 && !now.After(before[0].Timestamp.AsTime()) {
		now = before[0].Timestamp.AsTime().Add(time.Microsecond) // as fine as the table is
	}
	m.Entry.GroupKey, m.Entry.Timestamp, m.ExpiresAt = []byte(group), timestamppb.New(now), timestamppb.New(now.Add(min(expiry, logRetention)))
	var body bytes.Buffer
	if _, err := protodelim.MarshalTo(&body, m); err != nil {
		return nil, nil, fmt.Errorf("encoding a log entry: %w", err)
	}
	return m, body.Bytes(), b.inner.Merge(body.Bytes())
}

// Query returns what a receiver of a group was told last, without what is about earlier occurrences of the alerts that are being flushed.
func (b *logbook) Query(params ...nflog.QueryParam) ([]*nflogpb.Entry, error) {
	entries, err := b.inner.Query(params...)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(entries)
	for i, e := range out {
		if starts := b.flush(string(e.GroupKey), e.Receiver.GroupName); len(starts) > 0 {
			out[i] = current(e, starts)
		}
	}
	return out, nil
}

// GC forgets what has expired.
func (b *logbook) GC() { b.collect(b.inner) }

func (b *logbook) collect(l *nflog.Log) {
	if _, err := l.GC(); err != nil {
		b.logs.Error("the notification log was not cleaned up", "err", err)
	}
}

// current returns the entry without the alerts of which it knows another occurrence.
func current(e *nflogpb.Entry, starts map[uint64]int64) *nflogpb.Entry {
	told := readOccurrences(nflog.NewStore(e))
	stale := func(hash uint64) bool {
		now, flushed := starts[hash]
		then, known := told[hash]
		return flushed && known && now != then
	}
	if !slices.ContainsFunc(e.FiringAlerts, stale) && !slices.ContainsFunc(e.ResolvedAlerts, stale) {
		return e
	}
	copied, ok := proto.Clone(e).(*nflogpb.Entry)
	if !ok {
		return e
	}
	copied.FiringAlerts = slices.DeleteFunc(copied.FiringAlerts, stale)
	copied.ResolvedAlerts = slices.DeleteFunc(copied.ResolvedAlerts, stale)
	return copied
}

// occurrenceSize is that of an alert's hash and its start, eight bytes each.
const occurrenceSize = 16

// writeOccurrences notes in the entry's data which occurrences were told: those of the flush, and of what was not in it as before.
func writeOccurrences(store *nflog.Store, starts map[uint64]int64, firing, resolved []uint64) {
	before := readOccurrences(store)
	packed := make([]byte, 0, occurrenceSize*(len(firing)+len(resolved)))
	for _, hash := range slices.Concat(firing, resolved) {
		start, ok := starts[hash]
		if !ok {
			start, ok = before[hash]
		}
		if ok {
			packed = binary.BigEndian.AppendUint64(packed, hash)
			packed = binary.BigEndian.AppendUint64(packed, uint64(start))
		}
	}
	if len(packed) == 0 {
		store.Delete(occurrencesKey)
		return
	}
	store.SetStr(occurrencesKey, base64.RawStdEncoding.EncodeToString(packed))
}

// readOccurrences returns what writeOccurrences noted. What cannot be read was not noted.
func readOccurrences(store *nflog.Store) map[uint64]int64 {
	text, ok := store.GetStr(occurrencesKey)
	if !ok {
		return nil
	}
	packed, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	out := make(map[uint64]int64, len(packed)/occurrenceSize)
	for ; len(packed) >= occurrenceSize; packed = packed[occurrenceSize:] {
		out[binary.BigEndian.Uint64(packed)] = int64(binary.BigEndian.Uint64(packed[8:]))
	}
	return out
}

func decodeEntry(body []byte) (*nflogpb.MeshEntry, error) {
	var m nflogpb.MeshEntry
	if err := protodelim.UnmarshalFrom(bufio.NewReader(bytes.NewReader(body)), &m); err != nil {
		return nil, fmt.Errorf("decoding a log entry: %w", err)
	}
	if m.Entry == nil || m.Entry.Receiver == nil {
		return nil, fmt.Errorf("decoding a log entry: %w", nflog.ErrInvalidState)
	}
	return &m, nil
}

// receiverName names an integration of a receiver as the table does.
func receiverName(r *nflogpb.Receiver) string {
	return fmt.Sprintf("%s/%s/%d", r.GroupName, r.Integration, r.Idx)
}

// maxKey is how long a key of the table may be, in bytes: two of them fit into its index. Labels, matchers and names may be longer.
const maxKey = 1000

// keyOf is the text as a key of the table: itself, or how it begins and its hash. The entry holds the whole of it.
func keyOf(text string) string {
	if len(text) <= maxKey {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return strings.ToValidUTF8(text[:maxKey-1-hex.EncodedLen(len(sum))], "") + "#" + hex.EncodeToString(sum[:])
}
