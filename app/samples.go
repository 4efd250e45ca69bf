package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/tokiflow/tokiflow/core/record"
	"github.com/tokiflow/tokiflow/core/series"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/eventlog"
	"github.com/tokiflow/tokiflow/infra/eventlog/disklog"
)

// sampleLog is the log of samples and this process's way into it. It is a log of its own so that a flood of samples never
// delays a ping, nor an alarm: nothing of it is read by the evaluator or the writer of pings.
type sampleLog struct {
	log      eventlog.Log
	appender *eventlog.Appender
	encoders sync.Pool // *sampleEncoder
}

// samplesQueueBytes is how much may wait in memory for a partition of the log before senders are told to come back.
const samplesQueueBytes = 64 << 20

// openSamples opens the log of samples beside that of pings: another folder, or another topic of the same Kafka.
func (a *App) openSamples(ctx context.Context) (*sampleLog, error) {
	var l eventlog.Log
	if len(a.o.Kafka.Brokers) > 0 {
		k := a.o.Kafka
		k.Topic += "-samples"
		log, err := openKafka(ctx, k, a.log)
		if err != nil {
			return nil, fmt.Errorf("kafka: %w", err)
		}
		l = log
	} else {
		log, err := disklog.Open(disklog.Options{
			Dir: filepath.Join(a.o.DataDir, "log-samples"), Partitions: a.o.LogPartitions, Retention: a.o.LogRetention, Logger: a.log,
		})
		if err != nil {
			return nil, fmt.Errorf("log of samples on disk: %w", err)
		}
		l = log
	}
	a.onStop("log of samples", func(context.Context) error { return l.Close() })
	return newSampleLog(l, eventlog.AppenderOptions{
		Logger: a.log.With("log", "samples"), MaxQueueBytes: samplesQueueBytes, Observe: a.appends.of("samples"),
	}), nil
}

func newSampleLog(l eventlog.Log, o eventlog.AppenderOptions) *sampleLog {
	return &sampleLog{log: l, appender: eventlog.NewAppender(l, o)}
}

// AppendSamples makes samples and descriptions of metrics durable, each series in the partition that is its own. The error wraps
// eventlog.ErrUnavailable: some of it may be durable then, and to send all of it again does no harm. Nothing that was given is
// kept. Safe for concurrent use.
func (s *sampleLog) AppendSamples(ctx context.Context, org tenant.OrgID, list []series.Series, metadata []series.Metadata) error {
	n := s.log.Partitions()
	parts := make([]*sampleEncoder, n)
	at := func(partition int) *sampleEncoder {
		if parts[partition] == nil {
			parts[partition] = s.encoder(org)
		}
		return parts[partition]
	}
	for i := range list {
		at(series.Partition(org, list[i].Labels, n)).add(&list[i])
	}
	for i := range metadata {
		// Whoever writes them has each metric to itself too.
		name := [...]series.Label{{Name: series.NameLabel, Value: metadata[i].Name}}
		at(series.Partition(org, name[:], n)).describe(&metadata[i])
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	for partition, e := range parts {
		if e == nil {
			continue
		}
		e.cut()
		batches := e.batches
		s.release(e)
		wg.Go(func() { errs[partition] = s.send(ctx, partition, batches) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// send appends batches one after the other.
func (s *sampleLog) send(ctx context.Context, partition int, batches [][][]byte) error {
	for _, recs := range batches {
		if _, err := s.appender.AppendAll(ctx, partition, recs); err != nil {
			return err
		}
	}
	return nil
}

func (s *sampleLog) encoder(org tenant.OrgID) *sampleEncoder {
	e, ok := s.encoders.Get().(*sampleEncoder)
	if !ok {
		e = &sampleEncoder{}
	}
	e.org = org
	return e
}

func (s *sampleLog) release(e *sampleEncoder) {
	e.enc.Reset()
	e.batches, e.bytes = nil, 0
	s.encoders.Put(e)
}

// Sizes, in bytes before compression: of a record, above which another is begun; and of what is appended at once.
const (
	sampleRecordBytes = 1 << 20
	sampleBatchBytes  = 8 << 20
)

// piece is how many samples of a series go into one record at most, and pieceBytes how many bytes of histograms.
const (
	piece      = 20_000
	pieceBytes = 512 << 10
)

// sampleEncoder makes the records of one partition.
type sampleEncoder struct {
	org     tenant.OrgID
	enc     record.SamplesEncoder
	scratch []byte
	batches [][][]byte // records, by what is appended at once
	bytes   int        // of the last batch
}

// add adds a series, in pieces where it has many samples.
func (e *sampleEncoder) add(s *series.Series) {
	floats, histograms := s.Floats, s.Histograms
	for {
		part := series.Series{Labels: s.Labels, Floats: floats[:min(len(floats), piece)]}
		floats = floats[len(part.Floats):]
		size, n := 0, 0
		for n < len(histograms) && n < piece && (n == 0 || size < pieceBytes) {
			size += len(histograms[n].Data)
			n++
		}
		part.Histograms, histograms = histograms[:n], histograms[n:]
		e.enc.Add(&part)
		if e.enc.Size() >= sampleRecordBytes {
			e.cut()
		}
		if len(floats)+len(histograms) == 0 {
			return
		}
	}
}

func (e *sampleEncoder) describe(m *series.Metadata) {
	e.enc.AddMetadata(m)
	if e.enc.Size() >= sampleRecordBytes {
		e.cut()
	}
}

// cut ends the record.
func (e *sampleEncoder) cut() {
	if e.enc.Empty() {
		return
	}
	size := e.enc.Size()
	e.scratch = e.enc.AppendRecord(e.scratch[:0], e.org)
	e.enc.Reset()
	if e.bytes == 0 || e.bytes+size > sampleBatchBytes {
		e.batches, e.bytes = append(e.batches, nil), 0
	}
	last := len(e.batches) - 1
	e.batches[last] = append(e.batches[last], bytes.Clone(e.scratch))
	e.bytes += size
}
