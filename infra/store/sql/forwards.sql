-- name: PutForward :one
-- A change ends the claim of whoever works on it, so that it goes on as it is now.
insert into forwards as f (org_id, name, kind, config, hints, sealed)
select @org_id, @name, @kind, @config, @hints, @sealed
where (select count(*) from forwards where org_id = @org_id and name <> @name) < @most::bigint
on conflict (org_id, name) do update set
    kind = excluded.kind, config = excluded.config, hints = excluded.hints, sealed = excluded.sealed, updated_at = now(),
    error = '', error_at = null, failed_tries = 0, holder = null, epoch = f.epoch + 1, leased_until = now()
returning (f.xmax = 0)::boolean as created;

-- name: Forwards :many
select org_id, name, config, hints, created_at, updated_at, position, sent_at, error, error_at, sent, rejected, skipped_seconds, failed_tries
from forwards
where org_id = @org_id and (name = @name or @name = '')
order by name;

-- name: DeleteForward :execrows
delete from forwards where org_id = @org_id and name = @name;

-- name: ClaimForwards :many
-- @sqlc-vet-disable tenant
update forwards f set holder = @holder, epoch = f.epoch + 1, leased_until = now() + make_interval(secs => @lease_seconds::double precision)
from (
    select org_id, name from forwards where leased_until <= now() order by leased_until limit @max_rows for update skip locked
) free
where f.org_id = free.org_id and f.name = free.name
returning f.org_id, f.name, f.config, f.sealed, f.position, f.epoch;

-- name: RenewForwards :many
-- @sqlc-vet-disable tenant
update forwards set leased_until = now() + make_interval(secs => @lease_seconds::double precision)
where holder = @holder and leased_until > now()
returning org_id, name, epoch;

-- name: AdvanceForward :execrows
update forwards set position = @position, sent = sent + @sent, rejected = rejected + @rejected,
    skipped_seconds = skipped_seconds + @skipped_seconds, failed_tries = 0,
    sent_at = case when @sent::bigint > 0 then now() else sent_at end,
    error = @error, error_at = case when @error::text = '' then null else now() end
where org_id = @org_id and name = @name and holder = @holder and epoch = @epoch;

-- name: FailForward :execrows
update forwards set error = @error, error_at = now(), failed_tries = failed_tries + 1
where org_id = @org_id and name = @name and holder = @holder and epoch = @epoch;

-- name: ReleaseForward :exec
update forwards set holder = null, leased_until = now()
where org_id = @org_id and name = @name and holder = @holder and epoch = @epoch;
