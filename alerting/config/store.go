package config

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// Backend keeps what is sealed. Safe for concurrent use.
type Backend interface {
	// AlertingConfig reads what was put; where nothing was, all of it is zero.
	AlertingConfig(ctx context.Context, org tenant.OrgID) (sealed []byte, hash string, version int64, at time.Time, err error)
	// PutAlertingConfig stores it; nil returns to the default. ifVersion below 0: whatever there is; else another version is a fault of
	// code conflict.
	PutAlertingConfig(ctx context.Context, org tenant.OrgID, sealed []byte, hash string, by uuid.UUID, ifVersion int64) (version int64, err error)
}

// Box seals what is secret. It opens again only with the same about.
type Box interface {
	Seal(plain, about []byte) ([]byte, error)
	Open(sealed, about []byte) ([]byte, error)
}

// Store keeps a configuration for each organisation, and makes it what is run. Safe for concurrent use.
type Store struct {
	backend Backend
	box     Box // nil: nothing can be put
	options Options

	mu   sync.Mutex
	file *Config // of --alertmanager-config; nil: none
	turn int64   // how often it was set
}

// NewStore makes a Store. box may be nil: then no configuration can be put.
func NewStore(backend Backend, box Box, o Options) *Store {
	return &Store{backend: backend, box: box, options: o.Shared()}
}

// SetFile puts a file's configuration in the place of everything that was put, for every organisation. It may be called again with what
// the file has become.
func (s *Store) SetFile(c *Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file = c
	s.turn++
}

func (s *Store) fromFile() (*Config, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file, s.turn
}

// Load returns what to run for the organisation, and its version: another one when, and only when, it has changed.
func (s *Store) Load(ctx context.Context, org tenant.OrgID) (*Config, int64, error) {
	if c, turn := s.fromFile(); c != nil {
		return c, turn, nil
	}
	source, version, _, _, err := s.read(ctx, org)
	if err != nil {
		return nil, 0, err
	}
	c, err := load(source, s.options, stored)
	if err != nil {
		return nil, 0, fmt.Errorf("the stored alerting configuration: %w", err)
	}
	return c, version, nil
}

// read returns what is stored, with its secrets.
func (s *Store) read(ctx context.Context, org tenant.OrgID) (source Source, version int64, at time.Time, isDefault bool, err error) {
	sealed, _, version, at, err := s.backend.AlertingConfig(ctx, org)
	if err != nil {
		return Source{}, 0, time.Time{}, false, err
	}
	if sealed == nil {
		return Default(), version, at, true, nil
	}
	if s.box == nil {
		return Source{}, 0, time.Time{}, false, errNoKey()
	}
	plain, err := s.box.Open(sealed, about(org))
	if err != nil {
		return Source{}, 0, time.Time{}, false, fmt.Errorf("the stored alerting configuration cannot be opened: %w", err)
	}
	source, err = readStored(plain)
	return source, version, at, false, err
}

func errNoKey() error {
	return fault.New(fault.Unavailable, "this server has no secret key to seal secrets with")
}

func errFile() error {
	return fault.New(fault.Conflict, "this server's alerting is configured by the file of --alertmanager-config: change that file")
}

// about is what a configuration is sealed about, so that it opens for its own organisation alone.
func about(org tenant.OrgID) []byte { return []byte("alerting\x00" + org.String()) }

// Get returns the configuration without its secrets.
func (s *Store) Get(ctx context.Context, org tenant.OrgID) (alert.Configuration, error) {
	if c, turn := s.fromFile(); c != nil {
		shown, err := Redact(c.Source, s.options.Kinds)
		return alert.Configuration{YAML: shown.YAML, Templates: shown.Templates, Version: turn}, err
	}
	source, version, at, isDefault, err := s.read(ctx, org)
	if err != nil {
		return alert.Configuration{}, err
	}
	return s.shown(source, version, at, isDefault)
}

func (s *Store) shown(source Source, version int64, at time.Time, isDefault bool) (alert.Configuration, error) {
	shown, err := Redact(source, s.options.Kinds)
	if err != nil {
		return alert.Configuration{}, fmt.Errorf("the stored alerting configuration cannot be shown: %w", err)
	}
	if shown.Templates == nil {
		shown.Templates = map[string]string{}
	}
	return alert.Configuration{YAML: shown.YAML, Templates: shown.Templates, Version: version, UpdatedAt: at, Default: isDefault}, nil
}

// Put checks a configuration and stores it, and returns it without its secrets. Where it says <secret>, what is stored at that place
// stays. ifVersion as Backend has it. dryRun: nothing is stored. What equals what is stored changes nothing. An error that is the
// writer's is a fault of code invalid that wraps Problems.
func (s *Store) Put(ctx context.Context, org tenant.OrgID, c alert.Configuration, by uuid.UUID, ifVersion int64, dryRun bool) (alert.Configuration, error) {
	if file, _ := s.fromFile(); file != nil {
		return alert.Configuration{}, errFile()
	}
	if s.box == nil {
		return alert.Configuration{}, errNoKey()
	}
	old, version, at, isDefault, err := s.read(ctx, org)
	if err != nil && !dryRun && ifVersion < 0 {
		old, isDefault = Source{}, false // it cannot be opened: what is put takes its place, if it asks for nothing of it
	} else if err != nil {
		return alert.Configuration{}, err
	}
	if ifVersion >= 0 && version != ifVersion {
		return alert.Configuration{}, fault.New(fault.Conflict, fmt.Sprintf("the alerting configuration is at version %d, not %d: read it again", version, ifVersion))
	}
	if c.Templates == nil {
		c.Templates = map[string]string{}
	}
	source, err := Merge(Source{YAML: c.YAML, Templates: c.Templates}, old, s.options.Kinds)
	if err == nil {
		_, err = Load(source, s.options)
	}
	if err != nil {
		return alert.Configuration{}, invalid(err)
	}
	if !isDefault && s.options.same(source, old) {
		return s.shown(source, version, at, false)
	}
	if dryRun {
		return s.shown(source, version, at, false)
	}
	plain, err := source.stored()
	if err != nil {
		return alert.Configuration{}, err
	}
	sealed, err := s.box.Seal(plain, about(org))
	if err != nil {
		return alert.Configuration{}, err
	}
	sum := sha256.Sum256(sealed) // of what is sealed with a nonce: it says nothing of what is in it
	if _, err = s.backend.PutAlertingConfig(ctx, org, sealed, hex.EncodeToString(sum[:]), by, ifVersion); err != nil {
		return alert.Configuration{}, err
	}
	return s.Get(ctx, org)
}

// Delete returns to the default.
func (s *Store) Delete(ctx context.Context, org tenant.OrgID, by uuid.UUID, ifVersion int64) error {
	if file, _ := s.fromFile(); file != nil {
		return errFile()
	}
	sealed, _, version, _, err := s.backend.AlertingConfig(ctx, org)
	if err != nil {
		return err
	}
	if ifVersion >= 0 && version != ifVersion {
		return fault.New(fault.Conflict, fmt.Sprintf("the alerting configuration is at version %d, not %d: read it again", version, ifVersion))
	}
	if sealed == nil {
		return fault.New(fault.NotFound, "the default is in force already")
	}
	_, err = s.backend.PutAlertingConfig(ctx, org, nil, "", by, version)
	return err
}

// Test returns the names of the receivers that an alert with these labels reaches, in the order of the routes.
func (s *Store) Test(ctx context.Context, org tenant.OrgID, labels map[string]string) ([]string, error) {
	c, _, err := s.Load(ctx, org)
	if err != nil {
		return nil, err
	}
	return c.Receivers(labels), nil
}

// same reports whether two configurations are the same: word for word, and in their secrets, however those are written.
func (o Options) same(a, b Source) bool {
	if !maps.Equal(a.Templates, b.Templates) {
		return false
	}
	texts, secrets := [2]string{}, [2]map[string]string{}
	for i, s := range []Source{a, b} {
		shown, err := Redact(s, o.Kinds)
		if err != nil {
			return false
		}
		document, err := parse(s.YAML)
		if err != nil {
			return false
		}
		texts[i], secrets[i] = shown.YAML, map[string]string{}
		for _, p := range o.secrets(document) {
			secrets[i][p.key()] = p.node.Value
		}
	}
	return texts[0] == texts[1] && maps.Equal(secrets[0], secrets[1])
}

// invalid makes Problems a fault of the writer's.
func invalid(err error) error {
	if p, ok := errors.AsType[Problems](err); ok {
		return &fault.Error{Code: fault.Invalid, Message: p.Error(), Err: p}
	}
	return err
}
