-- name: SaveNotification :exec
-- Attempts may be written down out of order: the last one counts.
insert into sent_notifications (id, org_id, receiver, integration, group_key, reason, alerts, alert_count, firing_count, started_at,
    attempts, status, status_code, error, latency_seconds, ended_at)
values (@id, @org_id, @receiver, @integration, @group_key, @reason, @alerts, @alert_count, @firing_count, @started_at,
    @attempts, @status, @status_code, @error, @latency_seconds, @ended_at)
on conflict (id) do update set
    attempts = excluded.attempts, status = excluded.status, status_code = excluded.status_code, error = excluded.error,
    latency_seconds = excluded.latency_seconds, ended_at = excluded.ended_at
where sent_notifications.org_id = excluded.org_id
  and (sent_notifications.attempts < excluded.attempts or sent_notifications.attempts = excluded.attempts and sent_notifications.ended_at is null);

-- name: Notifications :many
-- The newest first.
select * from sent_notifications
where org_id = @org_id
  and (started_at, id) < (@before_at::timestamptz, @before_id::uuid)
  and started_at >= @from_at::timestamptz
  and started_at < @to_at::timestamptz
  and (@receiver::text = '' or receiver = @receiver)
  and (cardinality(@statuses::text[]) = 0 or status = any (@statuses::text[]))
  and (sqlc.narg('incident_id')::uuid is null
       or alerts @> jsonb_build_array(jsonb_build_object('incident_id', sqlc.narg('incident_id')::uuid)))
order by started_at desc, id desc
limit @max_rows;

-- name: PruneNotifications :execrows
-- @sqlc-vet-disable tenant
delete from sent_notifications where id in (
    select n.id from sent_notifications n where n.started_at < @before::timestamptz limit @max_rows for update skip locked);
