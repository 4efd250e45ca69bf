-- name: SaveSilence :batchexec
insert into silences (org_id, id, version, ends_at, expires_at, body) values (@org_id, @id, @version, @ends_at, @expires_at, @body)
on conflict (org_id, id) do update set
    version = excluded.version, ends_at = excluded.ends_at, expires_at = excluded.expires_at, body = excluded.body;

-- name: ChangedSilences :many
select id, version, ends_at, expires_at, body from silences
where org_id = @org_id and version > @since and expires_at > @now order by id;

-- name: PruneSilences :execrows
-- @sqlc-vet-disable tenant
delete from silences where (org_id, id) in (
    select s.org_id, s.id from silences s where s.expires_at < @now::timestamptz limit @max_rows for update skip locked);
