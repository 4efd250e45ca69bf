-- name: InsertMonitor :one
insert into monitors (id, org_id, project_id, ping_key, name, slug, tags, config, version)
select @id, p.org_id, p.id, @ping_key, @name, @slug, @tags, @config, 1
from projects p
where p.org_id = @org_id and p.id = @project_id
returning created_at;

-- name: LockSlug :exec
-- @sqlc-vet-disable tenant
select pg_advisory_xact_lock(hashtextextended('tokiflow/slug/' || @project_id::text || '/' || @slug::text, 0));

-- name: SlugsLike :many
select slug from monitors
where org_id = @org_id and project_id = @project_id and starts_with(slug, @prefix::text);

-- name: MonitorsBySlug :many
select id, org_id, project_id, ping_key, slug from monitors
where org_id = @org_id and project_id = @project_id and slug = @slug
limit 2;

-- name: Monitor :one
-- The status shown is the evaluator's, but for a pause or resumption it has not come to yet (its state's version is
-- behind): then it is the one asked for, and what a resumption leads to.
select m.id, m.org_id, m.project_id, m.ping_key, m.config, m.version, m.created_at, m.updated_at,
    (case
        when s.monitor_id is null then case when m.paused then 'paused' else 'new' end
        when m.paused = (s.status = 'paused') then s.status
        when (s.state ->> 'version')::bigint >= m.version then s.status
        when m.paused then 'paused'
        when s.last_ping_at is null then 'new'
        else 'up'
    end)::text as status,
    s.last_ping_at, s.due_at, s.deadline_at, coalesce(s.open_runs, 0)::integer as open_runs
from monitors m
left join monitor_states s on s.monitor_id = m.id and s.org_id = m.org_id
where m.org_id = @org_id and m.id = @id;

-- name: Monitors :many
-- In the order of their making, which is that of their ids (UUIDv7).
select v.*
from (
    select m.id, m.org_id, m.project_id, m.ping_key, m.config, m.version, m.created_at, m.updated_at,
        (case
            when s.monitor_id is null then case when m.paused then 'paused' else 'new' end
            when m.paused = (s.status = 'paused') then s.status
            when (s.state ->> 'version')::bigint >= m.version then s.status
            when m.paused then 'paused'
            when s.last_ping_at is null then 'new'
            else 'up'
        end)::text as status,
        s.last_ping_at, s.due_at, s.deadline_at, coalesce(s.open_runs, 0)::integer as open_runs
    from monitors m
    left join monitor_states s on s.monitor_id = m.id and s.org_id = m.org_id
    where m.org_id = @org_id
      and m.id > @after
      and (sqlc.narg('project_id')::uuid is null or m.project_id = sqlc.narg('project_id'))
      and (@slug::text = '' or m.slug = @slug)
      and (@name::text = '' or position(lower(@name) in lower(m.name)) > 0)
      and m.tags @> @tags::text[]
) v
where cardinality(@statuses::text[]) = 0 or v.status = any (@statuses::text[])
order by v.id
limit @max_rows;

-- name: LockMonitor :one
-- paused is what was asked for last, or the evaluator's word where it has come that far: a ping may have resumed the
-- monitor since. version is the evaluator's where that is ahead: after the database came back from a backup, the log has brought
-- the state further than the backup knows.
select m.project_id, m.config,
    greatest(m.version, (select (s.state ->> 'version')::bigint from monitor_states s
                         where s.monitor_id = m.id and s.org_id = m.org_id))::bigint as version,
    coalesce(
        (select s.status = 'paused' from monitor_states s
         where s.monitor_id = m.id and s.org_id = m.org_id and (s.state ->> 'version')::bigint >= m.version),
        m.paused)::boolean as paused
from monitors m
where m.org_id = @org_id and m.id = @id
for update of m;

-- name: UpdateMonitor :exec
update monitors
set name = @name, slug = @slug, tags = @tags, config = @config, paused = @paused, version = @version, updated_at = now()
where org_id = @org_id and id = @id;

-- name: SetMonitorVersion :exec
update monitors set version = @version, paused = @paused where org_id = @org_id and id = @id;

-- name: SetPingKey :execrows
update monitors set ping_key = @ping_key, updated_at = now() where org_id = @org_id and id = @id;

-- name: DeleteMonitor :one
delete from monitors m where m.org_id = @org_id and m.id = @id
returning greatest(m.version, (select (s.state ->> 'version')::bigint from monitor_states s
                             where s.monitor_id = m.id and s.org_id = m.org_id))::bigint as version;
