-- name: SaveLogEntry :batchexec
-- The later entry counts, whoever comes first.
insert into notification_log (org_id, group_key, receiver, logged_at, expires_at, body)
values (@org_id, @group_key, @receiver, @logged_at, @expires_at, @body)
on conflict (org_id, group_key, receiver) do update set
    logged_at = excluded.logged_at, expires_at = excluded.expires_at, body = excluded.body
where notification_log.logged_at <= excluded.logged_at;

-- name: NotificationLog :many
select group_key, receiver, logged_at, expires_at, body from notification_log
where org_id = @org_id and expires_at > @now order by group_key, receiver;

-- name: PruneNotificationLog :execrows
-- @sqlc-vet-disable tenant
delete from notification_log where (org_id, group_key, receiver) in (
    select n.org_id, n.group_key, n.receiver from notification_log n
    where n.expires_at < @now::timestamptz order by n.expires_at limit @max_rows for update skip locked);
