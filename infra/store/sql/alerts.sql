-- name: LockFeed :one
-- @sqlc-vet-disable tenant
-- One process feeds at a time, so what is said of one incident stays in order.
select pg_try_advisory_xact_lock(7405009);

-- name: UnfedOutbox :many
-- @sqlc-vet-disable tenant
-- Locked in the order of ids, as by those that fan out.
select id, org_id, incident_id, type, payload from outbox where not fed order by id limit @max_rows for update;

-- name: MarkFed :exec
-- @sqlc-vet-disable tenant
update outbox set fed = true where id = any (@ids::bigint[]);

-- name: OldestUnfed :one
-- @sqlc-vet-disable tenant
select created_at from outbox where not fed order by id limit 1;

-- name: ProjectsOfMonitors :many
-- @sqlc-vet-disable tenant
select m.id, m.org_id, p.name from monitors m join projects p on p.id = m.project_id and p.org_id = m.org_id
where m.id = any (@monitors::uuid[]);

-- name: AcknowledgedIncidents :many
-- @sqlc-vet-disable tenant
select i.id, i.org_id, i.acknowledged_at, coalesce(k.name, '')::text as acknowledged_by
from incidents i left join api_keys k on k.id = i.acknowledged_by and k.org_id = i.org_id
where i.id = any (@incidents::uuid[]) and i.acknowledged_at is not null;

-- name: FireAlert :batchexec
-- Of one incident that fires already the start and the acknowledgement stay; whatever else has these labels gives way.
insert into alerts (org_id, fingerprint, version, source, labels, annotations, generator_url, starts_at, updated_at,
    incident_id, monitor_id, acknowledged_at, acknowledged_by)
values (@org_id, @fingerprint, @version, @source, @labels, @annotations, @generator_url, @starts_at, clock_timestamp(),
    @incident_id, sqlc.narg('monitor_id'), sqlc.narg('acknowledged_at'), @acknowledged_by)
on conflict (org_id, fingerprint) do update set
    version = excluded.version, source = excluded.source, labels = excluded.labels, annotations = excluded.annotations,
    generator_url = excluded.generator_url, ends_at = null, timeout = false, updated_at = excluded.updated_at,
    starts_at = case when alerts.incident_id = excluded.incident_id and alerts.ends_at is null
        then least(alerts.starts_at, excluded.starts_at) else excluded.starts_at end,
    acknowledged_at = case when alerts.incident_id = excluded.incident_id and alerts.ends_at is null
        then coalesce(alerts.acknowledged_at, excluded.acknowledged_at) else excluded.acknowledged_at end,
    acknowledged_by = case when alerts.incident_id = excluded.incident_id and alerts.ends_at is null and alerts.acknowledged_at is not null
        then alerts.acknowledged_by else excluded.acknowledged_by end,
    incident_id = excluded.incident_id, monitor_id = excluded.monitor_id;

-- name: ResolveAlert :batchexec
-- Found by the incident, never by labels: the monitor may have another name by now.
update alerts set version = @version, ends_at = greatest(@ends_at::timestamptz, starts_at), timeout = false, updated_at = clock_timestamp()
where org_id = @org_id and incident_id = @incident_id and ends_at is null;

-- name: PostAlert :batchexec
-- As Alertmanager merges: the younger counts, the earliest start stays while it fires, and a later end that somebody gave is not shortened
-- by an assumed one. What fires of an incident or a rule is nobody's to change.
insert into alerts (org_id, fingerprint, version, source, labels, annotations, generator_url, starts_at, ends_at, timeout, updated_at)
values (@org_id, @fingerprint, @version, 'api', @labels, @annotations, @generator_url, @starts_at, sqlc.narg('ends_at'), @timeout, @updated_at)
on conflict (org_id, fingerprint) do update set
    version = excluded.version, source = excluded.source, labels = excluded.labels, annotations = excluded.annotations,
    generator_url = excluded.generator_url,
    starts_at = case when alerts.ends_at is null or alerts.ends_at > excluded.starts_at
        then least(alerts.starts_at, excluded.starts_at) else excluded.starts_at end,
    ends_at = case when excluded.ends_at > excluded.updated_at and excluded.timeout and not alerts.timeout and alerts.ends_at > excluded.ends_at
        then alerts.ends_at else excluded.ends_at end,
    timeout = case when excluded.ends_at > excluded.updated_at and excluded.timeout and not alerts.timeout and alerts.ends_at > excluded.ends_at
        then false else excluded.timeout end,
    acknowledged_at = case when alerts.ends_at is null or alerts.ends_at > excluded.starts_at then alerts.acknowledged_at end,
    acknowledged_by = case when alerts.ends_at is null or alerts.ends_at > excluded.starts_at then alerts.acknowledged_by else '' end,
    updated_at = excluded.updated_at, incident_id = null, monitor_id = null
where alerts.source = 'api' or alerts.ends_at <= excluded.updated_at;

-- name: RemoveAlerts :execrows
delete from alerts a
using (select unnest(@fingerprints::text[]) as fingerprint, unnest(@versions::bigint[]) as version) as told
where a.org_id = @org_id and a.fingerprint = told.fingerprint and a.version = told.version;

-- name: ChangedAlerts :many
select * from alerts where org_id = @org_id and version > @since order by fingerprint;

-- name: RoutedAlert :one
select * from alerts where org_id = @org_id and fingerprint = @fingerprint;

-- name: RoutedByIncident :one
select * from alerts where org_id = @org_id and incident_id = @incident_id order by updated_at desc limit 1;

-- name: AcknowledgeAlert :execrows
update alerts set version = @version, acknowledged_at = @acknowledged_at, acknowledged_by = @acknowledged_by, updated_at = clock_timestamp()
where org_id = @org_id and fingerprint = @fingerprint and acknowledged_at is null;

-- name: AcknowledgeAlertOfIncident :execrows
-- As the incident says.
update alerts a set version = @version, acknowledged_at = i.acknowledged_at, updated_at = clock_timestamp(),
    acknowledged_by = coalesce((select k.name from api_keys k where k.org_id = i.org_id and k.id = i.acknowledged_by), '')
from incidents i
where a.org_id = @org_id and i.org_id = a.org_id and a.incident_id = @incident_id and i.id = a.incident_id
  and a.acknowledged_at is null and i.acknowledged_at is not null;

-- name: PruneAlerts :execrows
-- @sqlc-vet-disable tenant
delete from alerts where (org_id, fingerprint) in (
    select a.org_id, a.fingerprint from alerts a where a.ends_at < @before::timestamptz limit @max_rows for update skip locked);
