-- name: InsertPushGroup :execrows
-- The row is there to be locked; who inserts it fills it in, or takes it away again, in the same transaction.
insert into push_groups (org_id, key, labels, body, ttl_ms, last_at) values (@org_id, @key, @labels, '', 0, '1970-01-01 00:00:00+00')
on conflict do nothing;

-- name: CountPushGroups :one
select count(*) from push_groups where org_id = @org_id;

-- name: LockPushGroup :one
select body, ttl_ms, pushed_at, failed_at, expires_at, last_at
from push_groups where org_id = @org_id and key = @key for update;

-- name: PushBeat :one
-- Read after the group is locked: a beat that comes later leaves the group out, or sees what is written now.
-- @sqlc-vet-disable tenant
select coalesce(max(at), '1970-01-01 00:00:00+00')::timestamptz as at from push_beat;

-- name: UpdatePushGroup :exec
update push_groups set
    body = @body, ttl_ms = @ttl_ms, pushed_at = @pushed_at, failed_at = @failed_at, expires_at = @expires_at, last_at = @last_at
where org_id = @org_id and key = @key;

-- name: DeletePushGroup :exec
delete from push_groups where org_id = @org_id and key = @key;

-- name: DeletePushMetrics :exec
delete from push_metrics where org_id = @org_id and key = @key;

-- name: InsertPushMetrics :exec
insert into push_metrics (org_id, key, name, type)
select @org_id, @key, unnest(@names::text[]), unnest(@types::text[]);

-- name: PushTypesElsewhere :many
-- The first of an organisation's metrics that has another type in another group than the one given. Two steps along the index
-- for each name, however many groups have it.
select m.name::text as name, found.type
from (select unnest(@names::text[]) as name, unnest(@types::text[]) as type) as m
cross join lateral (
    (select o.type from push_metrics o where o.org_id = @org_id and o.name = m.name and o.type < m.type and o.key <> @key limit 1)
    union all
    (select o.type from push_metrics o where o.org_id = @org_id and o.name = m.name and o.type > m.type and o.key <> @key limit 1)
) as found
limit 1;

-- name: PushGroups :many
select org_id, key, labels, body, ttl_ms, pushed_at, failed_at, expires_at, last_at
from push_groups where org_id = @org_id and key > @after_key order by key limit @max_rows;

-- name: ClaimPushBeat :execrows
-- @sqlc-vet-disable tenant
insert into push_beat as b (at) values (@at)
on conflict (only_row) do update set at = excluded.at where b.at <= @due;

-- name: LockStandingPushGroups :many
-- Those being changed are left out: whoever changes them writes their samples.
-- @sqlc-vet-disable tenant
select org_id, key, labels, body, ttl_ms, pushed_at, failed_at, expires_at, last_at
from push_groups
where (org_id, key) > (@after_org::uuid, @after_key::bytea) and last_at < @at and (expires_at is null or expires_at > @at)
order by org_id, key limit @max_rows for update skip locked;

-- name: LockExpiredPushGroups :many
-- @sqlc-vet-disable tenant
select org_id, key, labels, body, ttl_ms, pushed_at, failed_at, expires_at, last_at
from push_groups
where expires_at <= @now order by expires_at limit @max_rows for update skip locked;

-- name: NextPushExpiry :one
-- @sqlc-vet-disable tenant
select expires_at from push_groups where expires_at is not null order by expires_at limit 1;
