-- name: CountRecipients :one
select count(*) from recipients where org_id = @org_id and removed_at is null;

-- name: LockRecipients :exec
-- @sqlc-vet-disable tenant
-- One at a time per organisation may add recipients or ask them, so that the limits hold.
select id from organisations where id = @org_id for no key update;

-- name: InsertRecipient :execrows
-- A removed one comes back as it was asked and as it answered.
insert into recipients (org_id, address, id, receiver, kind, sender, ask_due, due_at)
values (@org_id, @address, @id, @receiver, @kind, @sender, sqlc.narg(ask_due)::timestamptz, sqlc.narg(ask_due)::timestamptz)
on conflict (org_id, address) do update set
    removed_at = null, created_at = now(),
    ask_due = case when recipients.asks = 0 and recipients.unsubscribed_at is null then excluded.ask_due end,
    due_at = case when recipients.asks = 0 and recipients.unsubscribed_at is null then excluded.ask_due end,
    receiver = excluded.receiver, kind = excluded.kind, sender = excluded.sender
where recipients.removed_at is not null;

-- name: NameRecipients :exec
update recipients set receiver = @receiver, kind = @kind, sender = @sender
where org_id = @org_id and address = any (@addresses::text[]) and (receiver, kind, sender) is distinct from (@receiver, @kind, @sender);

-- name: Recipients :many
select r.*, (select count(*) from held_mails h where h.org_id = r.org_id and h.address = r.address) as held
from recipients r
where r.org_id = @org_id and r.removed_at is null and (cardinality(@addresses::text[]) = 0 or r.address = any (@addresses::text[]))
order by r.address;

-- name: RecipientByID :one
select * from recipients where org_id = @org_id and id = @id and removed_at is null;

-- name: LockRecipient :one
select * from recipients where org_id = @org_id and address = @address for update;

-- name: LockRecipientByID :one
select * from recipients where org_id = @org_id and id = @id and removed_at is null for update;

-- name: PutPreferences :exec
update recipients set preferences = @preferences where org_id = @org_id and address = @address;

-- name: RemoveRecipient :execrows
update recipients set removed_at = @at::timestamptz, verified_at = null, token_hash = null, token_expires_at = null, ask_due = null, due_at = null,
    preferences = '{}', error = '', error_at = null, tries = 0, leased_until = null
where org_id = @org_id and address = @address and removed_at is null;

-- name: WantAsk :exec
update recipients set ask_due = @at::timestamptz, due_at = @at::timestamptz, leased_until = null, tries = 0
where org_id = @org_id and address = @address;

-- name: CountAsked :one
select count(*) from recipients where org_id = @org_id and asked_at > @since::timestamptz and address <> @address;

-- name: SetToken :exec
update recipients set token_hash = @token_hash, token_expires_at = @expires_at where org_id = @org_id and address = @address;

-- name: VerifyRecipient :exec
update recipients set verified_at = @at::timestamptz, unsubscribed_at = null, token_hash = null, token_expires_at = null, asks = 0, ask_due = null,
    error = '', error_at = null, tries = 0, due_at = @at::timestamptz
where org_id = @org_id and id = @id;

-- name: UnsubscribeRecipient :exec
update recipients set unsubscribed_at = @at::timestamptz, token_hash = null, token_expires_at = null, ask_due = null, due_at = null, tries = 0
where org_id = @org_id and id = @id;

-- name: HeldOfGroup :one
select * from held_mails
where org_id = @org_id and address = @address and group_key = @group_key and receiver = @receiver and integration = @integration and reason = @reason;

-- name: InsertHeld :exec
insert into held_mails (id, org_id, address, receiver, kind, sender, integration, group_key, group_labels, reason, why, held_at, due_at, alerts, more, message)
values (@id, @org_id, @address, @receiver, @kind, @sender, @integration, @group_key, @group_labels, @reason, @why, @held_at, @due_at, @alerts, @more, @message);

-- name: UpdateHeld :exec
update held_mails set version = version + 1, kind = @kind, sender = @sender, why = @why, due_at = @due_at, alerts = @alerts, more = @more,
    message = @message
where org_id = @org_id and id = @id;

-- name: HastenRecipient :exec
update recipients set due_at = least(coalesce(due_at, @due_at::timestamptz), @due_at::timestamptz) where org_id = @org_id and address = @address;

-- name: HeldMails :many
select * from held_mails where org_id = @org_id and address = @address order by held_at, id;

-- name: ReleaseHeld :exec
update held_mails set due_at = @at::timestamptz where org_id = @org_id and address = @address and due_at is null;

-- name: RescheduleHeld :exec
update held_mails set due_at = @due_at::timestamptz where org_id = @org_id and id = @id;

-- name: DeleteHeld :exec
delete from held_mails where org_id = @org_id and id = @id and version = @version;

-- name: DeleteAllHeld :exec
delete from held_mails where org_id = @org_id and address = @address;

-- name: NextHeld :one
select min(due_at)::timestamptz as due_at from held_mails where org_id = @org_id and address = @address and due_at is not null having count(*) > 0;

-- name: FinishRecipient :exec
update recipients set leased_until = null, due_at = sqlc.narg(due_at)::timestamptz, tries = @tries, error = @error, error_at = sqlc.narg(error_at)::timestamptz,
    ask_due = sqlc.narg(ask_due)::timestamptz, asked_at = sqlc.narg(asked_at)::timestamptz, asks = @asks
where org_id = @org_id and address = @address;

-- name: ClaimRecipients :many
-- @sqlc-vet-disable tenant
update recipients r set leased_until = @until::timestamptz
from (
    select org_id, address from recipients
    where due_at <= @at::timestamptz and (leased_until is null or leased_until <= @at::timestamptz) and not org_id = any (@busy::uuid[])
    order by due_at limit @max_rows for update skip locked
) due
where r.org_id = due.org_id and r.address = due.address
returning r.*;

-- name: ExpireHeld :many
-- @sqlc-vet-disable tenant
delete from held_mails h
using (select id from held_mails where due_at is null and held_at < @before::timestamptz order by held_at limit @max_rows for update skip locked) old
where h.id = old.id
returning h.*;

-- name: EndedAlerts :many
-- Alerts that fire no more: those of them that are still known, with their end, and those that are not.
select f.fingerprint::text as fingerprint, a.ends_at
from unnest(@fingerprints::text[]) as f (fingerprint)
left join alerts a on a.org_id = @org_id and a.fingerprint = f.fingerprint
where a.fingerprint is null or a.ends_at <= @at::timestamptz;

-- name: EndedIncidents :many
select id, resolved_at from incidents where org_id = @org_id and id = any (@ids::uuid[]) and resolved_at is not null;
