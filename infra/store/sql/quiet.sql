-- name: LockMaintenance :exec
-- Windows are written one after another: so they are counted right.
-- @sqlc-vet-disable tenant
select pg_advisory_xact_lock(hashtextextended('tokiflow/maintenance/' || @org::text, 0));

-- name: NotifyMaintenance :exec
-- @sqlc-vet-disable tenant
select pg_notify('tokiflow_maintenance', '');

-- name: TryLockMaintenanceTurn :one
-- @sqlc-vet-disable tenant
select pg_try_advisory_xact_lock(hashtextextended('tokiflow/maintenance/turn', 0));

-- name: CountMaintenanceWindows :one
select count(*) from maintenance_windows where org_id = @org_id and deleted_at is null;

-- name: InsertMaintenanceWindow :one
insert into maintenance_windows (id, org_id, name, comment, scope, time, created_by, next_at)
values (@id, @org_id, @name, @comment, @scope, @time, @created_by, @next_at)
returning created_at, updated_at;

-- name: MaintenanceWindow :one
select id, org_id, name, comment, scope, time, created_by, created_at, updated_at, next_at from maintenance_windows
where org_id = @org_id and id = @id and deleted_at is null;

-- name: LockMaintenanceWindow :one
select time from maintenance_windows where org_id = @org_id and id = @id and deleted_at is null for update;

-- name: MaintenanceWindows :many
select id, org_id, name, comment, scope, time, created_by, created_at, updated_at, next_at from maintenance_windows
where org_id = @org_id and deleted_at is null order by id;

-- name: ReplaceMaintenanceWindow :one
update maintenance_windows set name = @name, comment = @comment, scope = @scope, time = @time, next_at = @next_at, updated_at = now()
where org_id = @org_id and id = @id
returning created_by, created_at, updated_at;

-- name: DeleteMaintenanceWindow :execrows
update maintenance_windows set deleted_at = now(), next_at = null where org_id = @org_id and id = @id and deleted_at is null;

-- name: CancelOccurrences :exec
-- What is over stays; what is on ends, and what was to come does not. With anew, what was is as if it had not been either.
update maintenance_occurrences set cancelled = true, revision = revision + 1,
    ends_at = case when @anew::boolean then starts_at else greatest(starts_at, least(ends_at, @now::timestamptz)) end
where org_id = @org_id and window_id = @window_id
  and (not cancelled and ends_at > @now::timestamptz or @anew::boolean and ends_at > starts_at);

-- name: DueMaintenanceWindows :many
-- @sqlc-vet-disable tenant
select id, org_id, name, comment, scope, time, created_by, created_at, updated_at, next_at from maintenance_windows
where next_at < @horizon::timestamptz and deleted_at is null
order by next_at limit @max_rows for update skip locked;

-- name: PlanOccurrence :exec
insert into maintenance_occurrences (org_id, window_id, due_at, name, scope, starts_at, ends_at)
values (@org_id, @window_id, @due_at, @name, @scope, @due_at, @ends_at)
on conflict (window_id, due_at) do update set
    name = excluded.name, scope = excluded.scope, starts_at = excluded.starts_at, ends_at = excluded.ends_at,
    cancelled = false, revision = maintenance_occurrences.revision + 1;

-- name: SetNextOccurrence :exec
update maintenance_windows set next_at = @next_at where org_id = @org_id and id = @id;

-- name: UntoldOccurrences :many
-- @sqlc-vet-disable tenant
select o.org_id, o.window_id, o.due_at, o.name, o.scope, o.starts_at, o.ends_at, o.cancelled, o.silenced, o.revision
from maintenance_occurrences o
where o.told < o.revision
order by o.org_id, o.starts_at limit @max_rows;

-- name: MarkOccurrence :exec
update maintenance_occurrences set told = @revision, silenced = @silenced
where org_id = @org_id and window_id = @window_id and due_at = @due_at and told < @revision;

-- name: OccurrencesWithin :many
select scope, starts_at, ends_at from maintenance_occurrences
where org_id = @org_id and ends_at > @since and starts_at < @until and ends_at > starts_at;

-- name: MonitorsForScopes :many
select id, project_id, tags from monitors
where org_id = @org_id and (cardinality(@ids::uuid[]) = 0 or id = any (@ids::uuid[]));

-- name: KnownMonitors :many
select id from monitors where org_id = @org_id and id = any (@ids::uuid[]);

-- name: ProjectNames :many
select id, name from projects where org_id = @org_id and id = any (@ids::uuid[]);

-- name: LockDependencies :exec
-- Two changes at once, each without a cycle, could close one together.
-- @sqlc-vet-disable tenant
select pg_advisory_xact_lock(hashtextextended('tokiflow/dependencies/' || @org::text, 0));

-- name: Dependencies :many
select monitor_id, parent_id from monitor_dependencies where org_id = @org_id order by monitor_id, parent_id;

-- name: DependenciesOf :many
select parent_id from monitor_dependencies where org_id = @org_id and monitor_id = @monitor_id order by parent_id;

-- name: DeleteDependencies :exec
delete from monitor_dependencies where org_id = @org_id and monitor_id = @monitor_id;

-- name: InsertDependencies :exec
insert into monitor_dependencies (org_id, monitor_id, parent_id)
select @org_id, @monitor_id, p from unnest(@parents::uuid[]) as p;

-- name: MonitorNames :many
select id, name from monitors where org_id = @org_id and id = any (@ids::uuid[]);

-- name: DependenciesVersion :one
select dependencies_version from alerting where org_id = @org_id;

-- name: SetDependenciesVersion :exec
update alerting set dependencies_version = version where org_id = @org_id;
