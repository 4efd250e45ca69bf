-- name: AllProjectKeys :many
-- @sqlc-vet-disable tenant
select id, org_id, ping_key from projects;

-- name: AllTargets :many
-- @sqlc-vet-disable tenant
-- What ingest knows. A monitor counts once the control record that makes it (version 1) is in the log, so that the
-- evaluator has always heard of a monitor before its first ping.
select m.id, m.org_id, m.project_id, m.ping_key, m.slug
from monitors m
where not exists (select from control_queue q where q.monitor_id = m.id and q.version = 1);

-- name: TargetOf :many
-- @sqlc-vet-disable tenant
select m.id, m.org_id, m.project_id, m.ping_key, m.slug
from monitors m
where m.id = @monitor_id
  and not exists (select from control_queue q where q.monitor_id = m.id and q.version = 1);

-- name: NotifyTarget :exec
-- @sqlc-vet-disable tenant
select pg_notify('tokiflow_targets', @monitor_id::text);
