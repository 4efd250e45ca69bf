package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tokiflow/tokiflow/core/checkpoint"
)

// saveVersions writes which configurations took effect and what was deleted, with the slug that the monitor's project has
// now. Of several in one instant the last stands.
func saveVersions(ctx context.Context, tx pgx.Tx, versions []checkpoint.Version) error {
	if len(versions) == 0 {
		return nil
	}
	type key struct {
		checkpoint.Ref
		micros int64
	}
	last := make(map[key]int, len(versions))
	for i := range versions {
		v := &versions[i]
		last[key{v.Ref, v.At.UnixMicro()}] = i
	}
	var (
		orgs, ids []uuid.UUID
		ats       []time.Time
		deleted   []bool
		configs   []string
	)
	for i := range versions {
		v := &versions[i]
		if last[key{v.Ref, v.At.UnixMicro()}] != i {
			continue
		}
		config, err := json.Marshal(&v.Config)
		if err != nil {
			return fmt.Errorf("configuration of monitor %s: %w", v.Monitor, err)
		}
		orgs, ids, ats = append(orgs, v.Org.UUID), append(ids, v.Monitor), append(ats, v.At)
		deleted, configs = append(deleted, v.Deleted), append(configs, string(config))
	}
	if _, err := tx.Exec(ctx, `
		insert into monitor_versions (org_id, monitor_id, at, deleted, project, config)
		select n.org_id, n.monitor_id, n.at, n.deleted, coalesce(p.slug, ''), n.config::jsonb
		from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::boolean[], $5::text[])
		  as n (org_id, monitor_id, at, deleted, config)
		left join monitors m on m.id = n.monitor_id and m.org_id = n.org_id
		left join projects p on p.id = m.project_id and p.org_id = m.org_id
		on conflict (org_id, monitor_id, at) do update
		set deleted = excluded.deleted, project = excluded.project, config = excluded.config, written_in = excluded.written_in`,
		orgs, ids, ats, deleted, configs); err != nil {
		return fmt.Errorf("save versions: %w", err)
	}
	return nil
}
