package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/fault"
	"github.com/tokiflow/tokiflow/core/inventory"
	"github.com/tokiflow/tokiflow/core/tenant"
	"github.com/tokiflow/tokiflow/infra/store/internal/db"
)

// minGivenKey is the least length of an API key that was not made here: keys are kept as a plain SHA-256, which is safe
// only for what cannot be guessed.
const minGivenKey = 8

// Names of the keys that Bootstrap makes.
const (
	firstKeyName = "first key"
	givenKeyName = tenant.GivenKeyName
)

// Bootstrapped is what a fresh installation begins with.
type Bootstrapped struct {
	Org     inventory.Organisation // with its first project
	Project inventory.Project
	// APIKey is the clear key where Bootstrap made one just now; else "": it is stored only hashed.
	APIKey string
}

// Bootstrap makes the organisation "default", its project "default" and an API key with all scopes, each where there is
// none. With apiKey, that key is made valid and the one given before it is revoked: the environment has the last word.
// Any number of processes may call it at once and again.
func (s *Store) Bootstrap(ctx context.Context, apiKey string) (Bootstrapped, error) {
	if apiKey != "" && len(apiKey) < minGivenKey {
		return Bootstrapped{}, fault.New(fault.Invalid, fmt.Sprintf(
			"the bootstrap API key has %d characters: give at least %d random ones, for instance those of `openssl rand -hex 32`",
			len(apiKey), minGivenKey))
	}
	var b Bootstrapped
	err := s.inTx(ctx, "bootstrap", func(q *db.Queries) error {
		if err := q.BootstrapLock(ctx); err != nil {
			return err
		}
		var err error
		if b.Org, err = ensureOrganisation(ctx, q); err != nil {
			return err
		}
		if b.Project, err = ensureProject(ctx, q, b.Org.ID); err != nil {
			return err
		}
		b.Org.Projects = []inventory.Project{b.Project}
		if apiKey != "" {
			return setGivenKey(ctx, q, b.Org.ID, apiKey)
		}
		b.APIKey, err = ensureKey(ctx, q, b.Org.ID)
		return err
	})
	if err != nil {
		return Bootstrapped{}, err
	}
	return b, nil
}

func ensureOrganisation(ctx context.Context, q *db.Queries) (inventory.Organisation, error) {
	row, err := q.OldestOrganisation(ctx)
	if err == nil {
		return inventory.Organisation{ID: row.ID, Name: row.Name, CreatedAt: row.CreatedAt.UTC()}, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return inventory.Organisation{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return inventory.Organisation{}, err
	}
	o := inventory.Organisation{ID: tenant.OrgID{UUID: id}, Name: "default"}
	o.CreatedAt, err = q.InsertOrganisation(ctx, db.InsertOrganisationParams{ID: o.ID, Name: o.Name})
	o.CreatedAt = o.CreatedAt.UTC()
	return o, err
}

func ensureProject(ctx context.Context, q *db.Queries, org tenant.OrgID) (inventory.Project, error) {
	rows, err := q.Projects(ctx, org)
	if err != nil {
		return inventory.Project{}, err
	}
	if len(rows) > 0 {
		return toProject(rows[0]), nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return inventory.Project{}, err
	}
	p := inventory.Project{ID: tenant.ProjectID{UUID: id}, Name: "default", Slug: "default", PingKey: strings.ToLower(rand.Text())}
	p.CreatedAt, err = q.InsertProject(ctx, db.InsertProjectParams{ID: p.ID, OrgID: org, Name: p.Name, Slug: p.Slug, PingKey: p.PingKey})
	p.CreatedAt = p.CreatedAt.UTC()
	return p, err
}

func toProject(r db.ProjectsRow) inventory.Project {
	return inventory.Project{ID: r.ID, Name: r.Name, Slug: r.Slug, PingKey: r.PingKey, CreatedAt: r.CreatedAt.UTC()}
}

func ensureKey(ctx context.Context, q *db.Queries, org tenant.OrgID) (string, error) {
	n, err := q.CountAPIKeys(ctx, org)
	if err != nil || n > 0 {
		return "", err
	}
	key := newAPIKey()
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	_, err = q.InsertAPIKey(ctx, db.InsertAPIKeyParams{
		ID: id, OrgID: org, Name: firstKeyName, Hash: hashAPIKey(key), Prefix: keyPrefix(key), Scopes: texts(tenant.Scopes()),
	})
	return key, err
}

func setGivenKey(ctx context.Context, q *db.Queries, org tenant.OrgID, key string) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	n, err := q.UpsertNamedAPIKey(ctx, db.UpsertNamedAPIKeyParams{
		ID: id, OrgID: org, Name: givenKeyName, Hash: hashAPIKey(key), Prefix: keyPrefix(key), Scopes: texts(tenant.Scopes()),
	})
	if err != nil {
		return err
	}
	if n == 0 {
		return fault.New(fault.Conflict, "the bootstrap API key belongs to another organisation: give a fresh one")
	}
	return q.RevokeOtherAPIKeys(ctx, db.RevokeOtherAPIKeysParams{OrgID: org, Name: givenKeyName, Hash: hashAPIKey(key)})
}

// Organisation reads an organisation with its projects.
func (s *Store) Organisation(ctx context.Context, org tenant.OrgID) (inventory.Organisation, error) {
	var o inventory.Organisation
	err := s.inTx(ctx, "organisation", func(q *db.Queries) error {
		row, err := q.Organisation(ctx, org)
		if err != nil {
			return err
		}
		o = inventory.Organisation{ID: row.ID, Name: row.Name, CreatedAt: row.CreatedAt.UTC()}
		projects, err := q.Projects(ctx, org)
		for _, p := range projects {
			o.Projects = append(o.Projects, toProject(p))
		}
		return err
	})
	return o, err
}
