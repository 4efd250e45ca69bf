-- name: AddGuardPings :exec
-- @sqlc-vet-disable tenant
insert into guard_counts as c (at, process, pings)
select unnest(@minutes::timestamptz[]), @process, unnest(@pings::bigint[])
on conflict (at, process) do update set pings = c.pings + excluded.pings;

-- name: StartGuard :exec
-- @sqlc-vet-disable tenant
insert into guard_state (phase, minute, pings, processes, expected, streak, level, seen)
values ('', @minute, 0, 0, 0, 0, 1, 1) on conflict do nothing;

-- name: LockGuard :one
-- One process steps the guard at a time; the others pass.
-- @sqlc-vet-disable tenant
select phase, minute, pings, processes, expected, since, detected_at, ended_at, judged_at, streak, level, seen
from guard_state for update skip locked;

-- name: GuardState :one
-- @sqlc-vet-disable tenant
select phase, minute, pings, processes, expected, since, detected_at, ended_at, judged_at, streak, level, seen
from guard_state;

-- name: GuardMinute :one
-- @sqlc-vet-disable tenant
select coalesce(sum(pings), 0)::bigint as pings, count(*)::integer as processes from guard_counts where at = @at;

-- name: GuardDays :many
-- @sqlc-vet-disable tenant
select at, pings from guard_minutes where at = any(@days::timestamptz[]) and believed;

-- name: GuardHour :many
-- @sqlc-vet-disable tenant
select at, pings from guard_minutes
where at >= @from_at and at < @before_at and believed order by at desc limit @max_rows;

-- name: SaveGuardMinute :exec
-- @sqlc-vet-disable tenant
insert into guard_minutes (at, pings, processes, believed) values (@at, @pings, @processes, @believed)
on conflict (at) do update set pings = excluded.pings, processes = excluded.processes, believed = excluded.believed;

-- name: SaveGuardState :exec
-- @sqlc-vet-disable tenant
update guard_state set
    phase = @phase, minute = @minute, pings = @pings, processes = @processes, expected = @expected,
    since = sqlc.narg('since'), detected_at = sqlc.narg('detected_at'), ended_at = sqlc.narg('ended_at'),
    judged_at = sqlc.narg('judged_at'), streak = @streak, level = @level, seen = @seen;

-- name: PruneGuardCounts :exec
-- @sqlc-vet-disable tenant
delete from guard_counts where at < @before_at;

-- name: PruneGuardMinutes :exec
-- @sqlc-vet-disable tenant
delete from guard_minutes where at < @before_at;

-- name: BelieveGuardMinutes :exec
-- @sqlc-vet-disable tenant
update guard_minutes set believed = true where at >= @from_at and not believed;
