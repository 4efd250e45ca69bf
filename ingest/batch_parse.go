package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

// maxBatchPings is the number of pings in a batch.
const maxBatchPings = 10_000

var errTooMany = errors.New("too many pings")

// splitBatch calls each with every ping of a batch, in order and counted from 0: the elements of a JSON array, or the
// lines that are not blank. The error is errTooMany, or says why the array cannot be taken apart; then what each was
// given counts for nothing.
func splitBatch(data []byte, each func(i int, one []byte)) error {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) > 0 && data[0] == '[' {
		return splitArray(data, each)
	}
	for i := 0; len(data) > 0; {
		line := data
		if end := bytes.IndexByte(data, '\n'); end >= 0 {
			line, data = data[:end], data[end+1:]
		} else {
			data = nil
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if i == maxBatchPings {
			return errTooMany
		}
		each(i, line)
		i++
	}
	return nil
}

// splitArray reads element by element, so that a huge array of nothing is left at the first element too many.
func splitArray(data []byte, each func(i int, one []byte)) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil {
		return err
	}
	for i := 0; d.More(); i++ {
		if i == maxBatchPings {
			return errTooMany
		}
		var one json.RawMessage
		if err := d.Decode(&one); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
		each(i, one)
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the array")
	}
	return nil
}

// batchPing is one ping of a batch, well-formed.
type batchPing struct {
	key      uuid.UUID // where slug is ""
	slug     string
	kind     record.PingKind
	exit     int16
	rid      uuid.UUID
	duration time.Duration
	body     []byte // may share memory with the batch
}

// batchFields is one ping of a batch as it is written; nil: not given.
type batchFields struct {
	Key      *string  `json:"key"`
	Slug     *string  `json:"slug"`
	Kind     *string  `json:"kind"`
	RID      *string  `json:"rid"`
	ExitCode *int     `json:"exit_code"`
	Duration *float64 `json:"duration"`
	Body     *string  `json:"body"`
}

// parseBatchPing reads one ping. The error may be shown. A field that is not known is refused by name: a mistyped
// exit_code that is passed over would make a failure a success.
func parseBatchPing(one []byte) (batchPing, error) {
	if f, ok := scanFields(one); ok {
		return f.ping()
	}
	return decodeBatchPing(one)
}

// decodeBatchPing is parseBatchPing by encoding/json: for what scanFields does not take.
func decodeBatchPing(one []byte) (batchPing, error) {
	var in batchFields
	d := json.NewDecoder(bytes.NewReader(one))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return batchPing{}, plainJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return batchPing{}, errors.New("something follows the JSON object on this line")
	}
	return in.plain().ping()
}

func (f *batchFields) plain() plainFields {
	var p plainFields
	text := func(s *string, t *textField) {
		if s != nil {
			t.value, t.given = []byte(*s), true
		}
	}
	text(f.Key, &p.key)
	text(f.Slug, &p.slug)
	text(f.Kind, &p.kind)
	text(f.RID, &p.rid)
	text(f.Body, &p.body)
	if f.ExitCode != nil {
		p.exit, p.hasExit = *f.ExitCode, true
	}
	if f.Duration != nil {
		p.duration, p.hasDuration = *f.Duration, true
	}
	return p
}

// textField is a field that holds a string.
type textField struct {
	value []byte
	given bool
}

// plainFields is batchFields without pointers, and with strings that share memory with the batch.
type plainFields struct {
	key, slug, kind, rid, body textField
	exit                       int
	duration                   float64
	hasExit, hasDuration       bool
}

// ping checks the fields.
func (f plainFields) ping() (batchPing, error) {
	p := batchPing{exit: record.NoExitCode, duration: record.NoDuration, body: f.body.value}
	var ok bool
	switch {
	case f.key.given && f.slug.given:
		return p, errors.New("give key or slug, not both")
	case f.key.given:
		if p.key, ok = parseUUID(string(f.key.value), false); !ok {
			return p, errNotFound
		}
	case f.slug.given:
		if p.slug = string(f.slug.value); !monitor.ValidSlug(p.slug) {
			return p, errors.New("invalid slug: it has the characters a-z, 0-9, - and _")
		}
	default:
		return p, errors.New("key or slug is missing")
	}
	if !f.kind.given {
		return p, errors.New("kind is missing: success, start, fail or log")
	}
	if p.kind, ok = record.ParsePingKind(string(f.kind.value)); !ok {
		return p, errors.New("invalid kind: success, start, fail or log")
	}
	if f.rid.given {
		if p.rid, ok = parseUUID(string(f.rid.value), true); !ok {
			return p, errors.New("invalid uuid format")
		}
	}
	if f.hasExit {
		if f.exit < 0 || f.exit > maxExit {
			return p, errors.New("invalid exit_code: 0 to 255")
		}
		p.exit = int16(f.exit)
		p.kind = judge(p.kind, p.exit)
	}
	if f.hasDuration {
		if f.duration < 0 || f.duration > maxSeconds {
			return p, errors.New("invalid duration: seconds from 0")
		}
		p.duration = time.Duration(math.Round(f.duration*1e6)) * time.Microsecond
	}
	return p, nil
}

// plainJSON says in plain words why a line is not taken.
func plainJSON(err error) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return errors.New("not a JSON object")
	case errors.As(err, &wrong):
		return fmt.Errorf("%s must not be a %s", wrong.Field, wrong.Value)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("not valid JSON: it ends early")
	}
	if text, ok := strings.CutPrefix(err.Error(), "json: "); ok {
		return errors.New(text)
	}
	return fmt.Errorf("not valid JSON: %w", err)
}
