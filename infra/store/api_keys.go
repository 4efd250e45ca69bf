package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// maxAPIKeys is how many living keys an organisation may have.
const maxAPIKeys = 100

// CreateAPIKey makes a key with the scopes and returns it in the clear, which nobody can do again. It is granted by another key,
// which must be living now (ErrUnauthenticated: who was believed a moment ago may be revoked) and have all of the scopes itself
// (a fault of code forbidden).
func (s *Store) CreateAPIKey(ctx context.Context, org tenant.OrgID, by uuid.UUID, name string, scopes []tenant.Scope) (inventory.APIKey, string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return inventory.APIKey{}, "", fmt.Errorf("store: create API key: %w", err)
	}
	clearKey := newAPIKey()
	k := inventory.APIKey{ID: id, Name: name, Prefix: keyPrefix(clearKey), Scopes: scopes}
	err = s.inTx(ctx, "create API key", func(q *db.Queries) error {
		if err := q.LockAPIKeys(ctx, org); err != nil {
			return err
		}
		has, err := livingScopes(ctx, q, org, by)
		if err != nil {
			return err
		}
		if err := mayGrant(has, scopes); err != nil {
			return err
		}
		n, err := q.CountAPIKeys(ctx, org)
		if err != nil {
			return err
		}
		if n >= maxAPIKeys {
			return fault.New(fault.Invalid, fmt.Sprintf("an organisation may have %d API keys: revoke one first", maxAPIKeys))
		}
		k.CreatedAt, err = q.InsertAPIKey(ctx, db.InsertAPIKeyParams{
			ID: id, OrgID: org, Name: name, Hash: hashAPIKey(clearKey), Prefix: k.Prefix, Scopes: texts(scopes),
		})
		k.CreatedAt = k.CreatedAt.UTC()
		return err
	})
	if err != nil {
		return inventory.APIKey{}, "", err
	}
	return k, clearKey, nil
}

// livingScopes is what a key may do that is not revoked at this moment; else ErrUnauthenticated.
func livingScopes(ctx context.Context, q *db.Queries, org tenant.OrgID, id uuid.UUID) ([]tenant.Scope, error) {
	row, err := q.APIKey(ctx, db.APIKeyParams{OrgID: org, ID: id})
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.RevokedAt != nil {
		return nil, ErrUnauthenticated
	}
	return toScopes(row.Scopes), err
}

func mayGrant(has, wanted []tenant.Scope) error {
	var lacking []string
	for _, sc := range wanted {
		if !slices.Contains(has, sc) {
			lacking = append(lacking, `"`+string(sc)+`"`)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	return fault.New(fault.Forbidden, "the API key lacks "+strings.Join(lacking, ", ")+": it may grant only scopes that it has itself")
}

// APIKeys lists the organisation's keys of greater ids than after, the revoked ones too, by id: as they were made.
func (s *Store) APIKeys(ctx context.Context, org tenant.OrgID, after uuid.UUID, limit int) ([]inventory.APIKey, error) {
	rows, err := s.q.APIKeys(ctx, db.APIKeysParams{OrgID: org, AfterID: after, MaxRows: rowLimit(limit)})
	if err != nil {
		return nil, wrap("API keys", err)
	}
	out := make([]inventory.APIKey, len(rows))
	for i, r := range rows {
		out[i] = inventory.APIKey{
			ID: r.ID, Name: r.Name, Prefix: r.Prefix, Scopes: toScopes(r.Scopes), CreatedAt: r.CreatedAt.UTC(), RevokedAt: utc(r.RevokedAt),
		}
	}
	return out, nil
}

// RevokeAPIKey ends a key for good; one that is revoked already stays as it is. by is the key that asks, which must be living now,
// else ErrUnauthenticated. The last key that can make others stays: a fault of code conflict.
func (s *Store) RevokeAPIKey(ctx context.Context, org tenant.OrgID, id, by uuid.UUID) error {
	return s.inTx(ctx, "revoke API key", func(q *db.Queries) error {
		if err := q.LockAPIKeys(ctx, org); err != nil {
			return err
		}
		row, err := q.APIKey(ctx, db.APIKeyParams{OrgID: org, ID: id})
		if err != nil || row.RevokedAt != nil {
			return err
		}
		if _, err := livingScopes(ctx, q, org, by); err != nil {
			return err
		}
		if slices.Contains(row.Scopes, string(tenant.ScopeWrite)) {
			others, err := q.CountAPIKeysBeside(ctx, db.CountAPIKeysBesideParams{OrgID: org, ID: id, Scope: string(tenant.ScopeWrite)})
			if err != nil {
				return err
			}
			if others == 0 {
				return fault.New(fault.Conflict, `this is the last API key with the scope "write": without it no other could be made; make one first`)
			}
		}
		return q.RevokeAPIKey(ctx, db.RevokeAPIKeyParams{OrgID: org, ID: id})
	})
}

// Authenticate finds who a key stands for. An unknown or revoked key is ErrUnauthenticated.
func (s *Store) Authenticate(ctx context.Context, key string) (tenant.Identity, error) {
	row, err := s.q.APIKeyByHash(ctx, hashAPIKey(key))
	if errors.Is(err, pgx.ErrNoRows) {
		return tenant.Identity{}, ErrUnauthenticated
	}
	if err != nil {
		return tenant.Identity{}, wrap("authenticate", err)
	}
	return tenant.Identity{Org: row.OrgID, Key: row.ID, Scopes: toScopes(row.Scopes)}, nil
}

func toScopes(list []string) []tenant.Scope {
	out := make([]tenant.Scope, len(list))
	for i, sc := range list {
		out[i] = tenant.Scope(sc)
	}
	return out
}

// newAPIKey makes a key of 256 random bits, in characters that a double click selects.
func newAPIKey() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the process instead
	return "tkf_" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:]))
}

// hashAPIKey is what is kept of a key. A plain SHA-256 is enough, because there are 256 bits to guess and not a
// person's password: neither salt nor stretching would add anything. Looking the hash up in an index needs no
// constant-time comparison either: what its timing could leak is the hash's first bits, which say nothing of a key
// that has them and cannot be steered without inverting SHA-256.
func hashAPIKey(key string) []byte {
	h := sha256.Sum256([]byte(key))
	return h[:]
}

// keyPrefix is the beginning of a key that is shown to tell keys apart: 40 of its 256 bits at most.
func keyPrefix(key string) string { return key[:min(len(key), len("tkf_")+8)] }
