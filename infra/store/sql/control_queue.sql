-- name: EnqueueControl :exec
insert into control_queue (org_id, monitor_id, action, version, payload)
values (@org_id, @monitor_id, @action, @version, @payload);

-- name: QueuedMonitors :many
-- @sqlc-vet-disable tenant
-- The monitors that wait longest, behind the row given.
select monitor_id, min(id)::bigint as first_id
from control_queue
group by monitor_id
having min(id) > @after::bigint
order by min(id)
limit @max_rows;

-- name: LockControls :exec
-- @sqlc-vet-disable tenant
select pg_advisory_xact_lock(hashtextextended('tokiflow/control/' || @monitor_id::text, 0));

-- name: TryLockControls :one
-- @sqlc-vet-disable tenant
select pg_try_advisory_xact_lock(hashtextextended('tokiflow/control/' || @monitor_id::text, 0)) as locked;

-- name: QueuedControls :many
-- @sqlc-vet-disable tenant
select id, org_id, monitor_id, action, version, payload
from control_queue
where monitor_id = @monitor_id
order by version, id
for update;

-- name: DeleteControls :exec
-- @sqlc-vet-disable tenant
delete from control_queue where monitor_id = @monitor_id and id = any (@ids::bigint[]);
