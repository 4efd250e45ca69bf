package config_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/pg/pgtest"
	"github.com/tokiflow/tokiflow/infra/seal"
	"github.com/tokiflow/tokiflow/infra/store"
)

type row struct {
	sealed  []byte
	version int64
}

// backend is the table, in memory.
type backend struct {
	mu   sync.Mutex
	rows map[tenant.OrgID]row
}

func (b *backend) AlertingConfig(_ context.Context, org tenant.OrgID) ([]byte, string, int64, time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[org]
	return r.sealed, "", r.version, time.Time{}, nil
}

func (b *backend) PutAlertingConfig(_ context.Context, org tenant.OrgID, sealed []byte, _ string, _ uuid.UUID, ifVersion int64) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.rows[org]
	if ifVersion >= 0 && ifVersion != r.version {
		return 0, fault.New(fault.Conflict, "changed")
	}
	r = row{sealed, r.version + 1}
	b.rows[org] = r
	return r.version, nil
}

func box(t *testing.T) *seal.Box {
	t.Helper()
	b, err := seal.New(bytes.Repeat([]byte{7}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newStore(t *testing.T) (*config.Store, *backend) {
	t.Helper()
	b := &backend{rows: map[tenant.OrgID]row{}}
	return config.NewStore(b, box(t), options()), b
}

func org(n byte) tenant.OrgID { return tenant.OrgID{UUID: uuid.UUID{15: n}} }

func TestAStoredConfiguration(t *testing.T) {
	t.Parallel()
	s, b := newStore(t)
	ctx := t.Context()
	before, err := s.Get(ctx, org(1))
	if err != nil || !before.Default || before.YAML != config.Default().YAML || before.Version != 0 {
		t.Errorf("%+v, %v", before, err)
	}
	in := alert.Configuration{YAML: goodSource().YAML, Templates: goodSource().Templates}
	if got, err := s.Put(ctx, org(1), in, uuid.Nil, 0, true); err != nil || got.Version != 0 || len(b.rows) != 0 || strings.Contains(got.YAML, "hunter2") {
		t.Errorf("a dry run: %+v, %v", got, err)
	}
	got, err := s.Put(ctx, org(1), in, uuid.Nil, 0, false)
	if err != nil || got.Version != 1 || got.Default || strings.Contains(got.YAML, "hunter2") || got.Templates["my/a.tmpl"] == "" {
		t.Errorf("%+v, %v", got, err)
	}
	if bytes.Contains(b.rows[org(1)].sealed, []byte("hunter2")) {
		t.Error("it is stored as it is")
	}
	// What it shows may be put back.
	again, err := s.Put(ctx, org(1), alert.Configuration{YAML: got.YAML, Templates: got.Templates}, uuid.Nil, -1, false)
	if err != nil || again.YAML != got.YAML || again.Version != got.Version {
		t.Errorf("%+v, %v", again, err)
	}
	third, err := s.Put(ctx, org(1), alert.Configuration{YAML: got.YAML, Templates: got.Templates}, uuid.Nil, -1, false)
	if err != nil || third.Version != again.Version {
		t.Errorf("the same gets another version: %+v, %v", third, err)
	}
	other := alert.Configuration{YAML: strings.Replace(in.YAML, "xoxb-123456", "xoxb-999999", 1), Templates: in.Templates}
	if again, err = s.Put(ctx, org(1), other, uuid.Nil, -1, false); err != nil || again.Version != got.Version+1 || again.YAML != got.YAML {
		t.Errorf("another secret: %+v, %v", again, err)
	}
	c, version, err := s.Load(ctx, org(1))
	if err != nil || version != again.Version || c.Alertmanager.Global.SMTPAuthPassword != "hunter2hunter2" {
		t.Errorf("%+v, %d, %v", c, version, err)
	}
	if _, err := s.Put(ctx, org(1), in, uuid.Nil, 0, false); fault.CodeOf(err) != fault.Conflict {
		t.Errorf("a lost update: %v", err)
	}
	if r, err := s.Test(ctx, org(1), map[string]string{"severity": "critical", "tags": ",db,"}); err != nil || fmt.Sprint(r) != "[on-call]" {
		t.Errorf("%v, %v", r, err)
	}
	// Another organisation sees nothing of it, and cannot open it either.
	b.rows[org(2)] = row{b.rows[org(1)].sealed, 9}
	if _, _, err := s.Load(ctx, org(2)); !errors.Is(err, seal.ErrBroken) {
		t.Error(err)
	}
	if err := s.Delete(ctx, org(1), uuid.Nil, 0); fault.CodeOf(err) != fault.Conflict {
		t.Error(err)
	}
	if err := s.Delete(ctx, org(1), uuid.Nil, -1); err != nil {
		t.Error(err)
	}
	if err := s.Delete(ctx, org(1), uuid.Nil, -1); fault.CodeOf(err) != fault.NotFound {
		t.Error(err)
	}
	if c, v, err := s.Load(ctx, org(1)); err != nil || v != again.Version+1 || c.Shown.Route.Receiver != "default" {
		t.Errorf("%d, %v", v, err)
	}
}

func TestAMistakeChangesNothing(t *testing.T) {
	t.Parallel()
	s, b := newStore(t)
	for _, text := range []string{minimal("foo: 1"), minimal("  webhook_configs: [{url: <secret>}]"), ""} {
		_, err := s.Put(t.Context(), org(1), alert.Configuration{YAML: text}, uuid.Nil, -1, false)
		var p config.Problems
		if fault.CodeOf(err) != fault.Invalid || !errors.As(err, &p) || len(b.rows) != 0 {
			t.Errorf("%v", err)
		}
	}
}

// TestWhatWasGoodStaysInForce though a check has become stricter since.
func TestWhatWasGoodStaysInForce(t *testing.T) {
	t.Parallel()
	b := &backend{rows: map[tenant.OrgID]row{}}
	lax := options()
	lax.AllowPrivate = true
	text := minimal("  webhook_configs: [{url: 'http://127.0.0.1/'}]\n  chat_configs: [{channel: '#x'}]")
	if _, err := config.NewStore(b, box(t), lax).Put(t.Context(), org(1), alert.Configuration{YAML: text}, uuid.Nil, -1, false); err != nil {
		t.Fatal(err)
	}
	strict := config.NewStore(b, box(t), options())
	if c, _, err := strict.Load(t.Context(), org(1)); err != nil || len(c.Entries) != 1 {
		t.Error(err)
	}
	if _, err := strict.Put(t.Context(), org(1), alert.Configuration{YAML: text + "\n# x"}, uuid.Nil, -1, false); fault.CodeOf(err) != fault.Invalid {
		t.Error(err)
	}
}

func TestAFileTakesThePlaceOfAll(t *testing.T) {
	t.Parallel()
	s, b := newStore(t)
	c, err := config.Load(config.Source{YAML: minimal("  webhook_configs: [{url: 'https://x.example/s3cr3ts3cr3t'}]")}, options())
	if err != nil {
		t.Fatal(err)
	}
	s.SetFile(c)
	got, version, err := s.Load(t.Context(), org(1))
	if err != nil || got != c || version != 1 {
		t.Errorf("%v, %d, %v", got, version, err)
	}
	s.SetFile(c)
	if _, version, _ := s.Load(t.Context(), org(2)); version != 2 {
		t.Error(version)
	}
	if shown, err := s.Get(t.Context(), org(1)); err != nil || strings.Contains(shown.YAML, "s3cr3t") || shown.Default {
		t.Errorf("%+v, %v", shown, err)
	}
	_, err = s.Put(t.Context(), org(1), alert.Configuration{YAML: minimal("")}, uuid.Nil, -1, false)
	if fault.CodeOf(err) != fault.Conflict || fault.CodeOf(s.Delete(t.Context(), org(1), uuid.Nil, -1)) != fault.Conflict || len(b.rows) != 0 {
		t.Error(err)
	}
}

func TestAStoreWithoutAKey(t *testing.T) {
	t.Parallel()
	b := &backend{rows: map[tenant.OrgID]row{}}
	s := config.NewStore(b, nil, options())
	if _, _, err := s.Load(t.Context(), org(1)); err != nil {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), org(1), alert.Configuration{YAML: minimal("")}, uuid.Nil, -1, false); fault.CodeOf(err) != fault.Unavailable {
		t.Error(err)
	}
	other, err := seal.New(bytes.Repeat([]byte{8}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.NewStore(b, box(t), options()).Put(t.Context(), org(1), alert.Configuration{YAML: minimal("")}, uuid.Nil, -1, false); err != nil {
		t.Fatal(err)
	}
	lost := config.NewStore(b, other, options())
	if _, _, err := lost.Load(t.Context(), org(1)); !errors.Is(err, seal.ErrOtherKey) {
		t.Error(err)
	}
	// A lost key is got over by putting it anew, with its secrets.
	if _, err := lost.Put(t.Context(), org(1), alert.Configuration{YAML: minimal("# new")}, uuid.Nil, -1, false); err != nil {
		t.Error(err)
	}
}

// TestInPostgreSQL puts one by the store that the program uses.
func TestInPostgreSQL(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	id := tenant.OrgID{UUID: uuid.New()}
	if _, err := pool.Exec(t.Context(), `insert into organisations (id, name) values ($1, 'x')`, id); err != nil {
		t.Fatal(err)
	}
	s := config.NewStore(store.New(pool), box(t), options())
	got, err := s.Put(t.Context(), id, alert.Configuration{YAML: goodSource().YAML, Templates: goodSource().Templates}, uuid.New(), 0, false)
	if err != nil || got.UpdatedAt.IsZero() {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := s.Put(t.Context(), id, alert.Configuration{YAML: minimal("")}, uuid.New(), got.Version+1, false); fault.CodeOf(err) != fault.Conflict {
		t.Error(err)
	}
	if _, version, err := s.Load(t.Context(), id); err != nil || version != got.Version {
		t.Errorf("%d, %v", version, err)
	}
}
