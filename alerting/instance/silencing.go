package instance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/alertmanager/silence"
	"github.com/prometheus/alertmanager/silence/silencepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tokiflow/tokiflow/alerting/silences"
	"github.com/tokiflow/tokiflow/core/alert"
)

// changeSilences lets a request change silences, and saves what it changed before the client gets the answer. When that fails the
// change is taken back and the answer is 500.
func (f *front) changeSilences(h http.Handler, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body) // before the lock: a client may take its time
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("reading the body: %v", err))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.writing.Lock()
	defer f.writing.Unlock()
	before, err := f.silences(r.Context())
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the silences could not be read")
		return
	}
	if r.Method == http.MethodPost {
		if why := f.refusal(body, before); why != "" {
			refuse(w, http.StatusBadRequest, why)
			return
		}
	}
	held := &answer{header: http.Header{}, status: http.StatusOK}
	f.capturing, f.captured = true, nil
	h.ServeHTTP(held, r)
	f.capturing = false
	if err := f.save(r.Context(), f.captured, before); err != nil {
		f.i.o.Metrics.saveFailures.WithLabelValues("silences").Inc()
		f.i.o.Logger.Error("a silence could not be saved", "err", err)
		refuse(w, http.StatusInternalServerError, "the silence could not be saved, try again")
		return
	}
	held.send(w)
}

// silences returns all silences by id. The lock is held.
func (f *front) silences(ctx context.Context) (map[string]*silencepb.Silence, error) {
	all, _, err := f.i.silences.Query(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*silencepb.Silence, len(all))
	for _, s := range all {
		out[s.Id] = s
	}
	return out, nil
}

// save stores what was broadcast, or restores what was before. The lock is held.
func (f *front) save(ctx context.Context, bodies [][]byte, before map[string]*silencepb.Silence) error {
	if len(bodies) == 0 {
		return nil
	}
	changed := make([]*silencepb.MeshSilence, 0, len(bodies))
	stored := make([]alert.StoredSilence, 0, len(bodies))
	for _, body := range bodies {
		m, err := silences.Unmarshal(body)
		if err != nil {
			return err
		}
		changed = append(changed, m)
		stored = append(stored, silences.Stored(m, body))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveRequest)
	defer cancel()
	err := f.i.o.Store.SaveSilences(ctx, f.i.o.Org, stored)
	if err == nil {
		return nil
	}
	for _, m := range changed {
		f.drop(m.Silence)
		if s, ok := before[m.Silence.Id]; ok {
			f.merge(&silencepb.MeshSilence{Silence: s, ExpiresAt: timestamppb.New(s.EndsAt.AsTime().Add(silences.Retention))})
		}
	}
	return err
}

// takeSilences takes in silences from the table.
func (f *front) takeSilences(ctx context.Context, stored []alert.StoredSilence) {
	if len(stored) == 0 {
		return
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	for _, s := range stored {
		m, err := silences.Unmarshal(s.Body)
		if err != nil {
			f.i.o.Logger.Error("a silence is left out", "silence", s.ID, "err", err)
			continue
		}
		f.take(ctx, m)
	}
}

// take takes in one silence. Alertmanager never gives an id other matchers, or a second life: what it remembers of which silence matches
// which alert relies on that. A maintenance window may do both, so its silence is forgotten before it comes in anew. The lock is held.
func (f *front) take(ctx context.Context, m *silencepb.MeshSilence) {
	known, err := f.i.silences.QueryOne(ctx, silence.QIDs(m.Silence.Id))
	if err == nil {
		if !known.UpdatedAt.AsTime().Before(m.Silence.UpdatedAt.AsTime()) {
			return
		}
		over := !known.EndsAt.AsTime().After(time.Now())
		if over || !slices.EqualFunc(known.MatcherSets, silences.MatcherSets(m.Silence), func(a, b *silencepb.MatcherSet) bool { return proto.Equal(a, b) }) {
			f.drop(known)
		}
	}
	f.merge(m)
}

// drop makes Alertmanager forget a silence, and which alerts it has found silenced by what. It lets the silence expire within moments,
// and cleans up after that; up to then it mutes as it did. The lock is held.
func (f *front) drop(s *silencepb.Silence) {
	const moment = 2 * time.Millisecond
	last, ok := proto.Clone(s).(*silencepb.Silence)
	if !ok {
		return
	}
	last.UpdatedAt = timestamppb.New(last.UpdatedAt.AsTime().Add(time.Nanosecond))
	f.merge(&silencepb.MeshSilence{Silence: last, ExpiresAt: timestamppb.New(time.Now().Add(moment))})
	time.Sleep(2 * moment)
	if _, err := f.i.silences.GC(); err != nil {
		f.i.o.Logger.Error("silences were not cleaned up", "err", err)
	}
	f.i.silencer.PostGC(f.i.fingerprints())
}

func (f *front) merge(m *silencepb.MeshSilence) {
	body, err := silences.Marshal(m)
	if err == nil {
		err = f.i.silences.Merge(body)
	}
	if err != nil {
		f.i.o.Logger.Error("a silence is left out", "silence", m.Silence.Id, "err", fmt.Errorf("taking it in: %w", err))
	}
}

// answer holds an HTTP answer back.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

func (a *answer) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}
