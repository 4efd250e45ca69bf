-- The relay's: it serves all organisations at once, as receivers are those of the installation.

-- name: FanOut :one
-- @sqlc-vet-disable tenant
-- One statement, so that no process can hold it half done. The lock is waited for and taken in order of id, so a
-- delivery never shows before the earlier ones of its incident do, however many processes fan out.
with picked as (
    select o.id, o.org_id, o.incident_id from outbox o
    where not o.fanned_out
    order by o.id
    limit @max_rows
    for update
), made as (
    insert into deliveries (outbox_id, org_id, incident_id, receiver)
    select p.id, p.org_id, p.incident_id, r.name
    from picked p cross join unnest(@receivers::text[]) as r (name)
    order by p.id
    on conflict (outbox_id, receiver) do nothing
), marked as (
    update outbox o set fanned_out = true from picked p where o.id = p.id
)
select count(*) from picked;

-- name: LockDueDeliveries :many
-- @sqlc-vet-disable tenant
select id from deliveries
where receiver = @receiver and delivered_at is null and (attempts > 0) = @retries::boolean and next_attempt_at <= now()
order by next_attempt_at
limit @max_rows
for update skip locked;

-- name: ClaimDeliveries :many
-- @sqlc-vet-disable tenant
-- Of the rows locked, those that wait for an earlier one of their incident are put off until that one is tried again
-- (and are made due when it is taken). It is a statement of its own because only one that begins when the locks are held
-- surely sees which earlier ones were taken.
with held as (
    select d.id, d.next_attempt_at, (
        select max(e.next_attempt_at) from deliveries e
        where e.incident_id = d.incident_id and e.receiver = d.receiver and e.outbox_id < d.outbox_id
          and e.delivered_at is null
    ) as blocked_until
    from deliveries d
    where d.id = any (@ids::bigint[])
), put_off as (
    update deliveries d set next_attempt_at = greatest(h.blocked_until, now()) + interval '1 second'
    from held h
    where d.id = h.id and h.blocked_until is not null
), claimed as (
    update deliveries d set attempts = d.attempts + 1,
        next_attempt_at = now() + make_interval(secs => @lease_seconds::double precision)
    from (
        select h.id from held h where h.blocked_until is null order by h.next_attempt_at limit @max_rows
    ) h
    where d.id = h.id
    returning d.id, d.outbox_id, d.org_id, d.incident_id, d.receiver, d.attempts
)
select c.id, c.outbox_id, c.org_id, c.incident_id, c.receiver, c.attempts, o.type, o.payload, o.created_at
from claimed c
join outbox o on o.id = c.outbox_id
order by c.outbox_id;

-- name: RecordTaken :one
with taken as (
    update deliveries d set delivered_at = now()
    where d.org_id = @org_id and d.id = @id and d.delivered_at is null
    returning d.id
), noted as (
    insert into notifications (delivery_id, org_id, incident_id, receiver, attempt, at, status_code, latency_seconds)
    select d.id, d.org_id, d.incident_id, d.receiver, @attempt, @at, sqlc.narg('status_code')::integer, @latency_seconds
    from deliveries d
    where d.org_id = @org_id and d.id = @id
)
select count(*) from taken;

-- name: ReleaseWaiting :execrows
-- What waited for a delivery that was taken becomes due. It must be a transaction that begins when that one is committed: a
-- claim that saw it untaken may be putting a later one off at this very moment, and this waits for the claim's end.
update deliveries d set next_attempt_at = now()
from deliveries t
where t.org_id = @org_id and t.id = @id and d.org_id = t.org_id and d.incident_id = t.incident_id and d.receiver = t.receiver
  and d.outbox_id > t.outbox_id and d.delivered_at is null and d.attempts = 0;

-- name: RecordNotTaken :exec
-- An attempt that lost its lease to a later one changes nothing but the list of attempts.
with due_again as (
    update deliveries d set next_attempt_at = now() + make_interval(secs => @retry_in_seconds::double precision)
    where d.org_id = @org_id and d.id = @id and d.delivered_at is null and d.attempts = @attempt
)
insert into notifications (delivery_id, org_id, incident_id, receiver, attempt, at, status_code, error, latency_seconds)
select d.id, d.org_id, d.incident_id, d.receiver, @attempt, @at, sqlc.narg('status_code')::integer, @error, @latency_seconds
from deliveries d
where d.org_id = @org_id and d.id = @id;

-- name: Backlogs :many
-- @sqlc-vet-disable tenant
with waiting as (
    select receiver, count(*) as waiting, count(*) filter (where attempts > 0) as retrying,
        max(attempts)::integer as attempts, min(outbox_id)::bigint as oldest
    from deliveries
    where delivered_at is null
    group by receiver
)
select w.receiver, w.waiting, w.retrying, w.attempts, o.created_at as oldest_at
from waiting w
join outbox o on o.id = w.oldest
order by w.receiver;

-- name: PruneOutbox :execrows
-- @sqlc-vet-disable tenant
-- Ids and times rise together, so nothing behind the first young row needs to be looked at.
delete from outbox
where id in (
    select o.id from outbox o
    where o.fanned_out and o.fed
      and o.id < coalesce(
          (select y.id from outbox y where y.created_at >= now() - make_interval(secs => @age_seconds::double precision)
           order by y.id limit 1),
          9223372036854775807)
      and not exists (select from deliveries d where d.outbox_id = o.id and d.delivered_at is null)
    order by o.id
    limit @max_rows);
