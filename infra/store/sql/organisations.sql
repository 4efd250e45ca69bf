-- name: BootstrapLock :exec
-- @sqlc-vet-disable tenant
select pg_advisory_xact_lock(hashtextextended('tokiflow/bootstrap', 0));

-- name: OldestOrganisation :one
-- @sqlc-vet-disable tenant
select id, name, created_at from organisations order by created_at, id limit 1;

-- name: InsertOrganisation :one
-- @sqlc-vet-disable tenant
insert into organisations (id, name) values (@id, @name) returning created_at;

-- name: Organisation :one
-- @sqlc-vet-disable tenant
select id, name, created_at from organisations where id = @id;

-- name: Projects :many
select id, name, slug, ping_key, created_at from projects where org_id = @org_id order by created_at, id;

-- name: InsertProject :one
insert into projects (id, org_id, name, slug, ping_key) values (@id, @org_id, @name, @slug, @ping_key)
returning created_at;

-- name: CountAPIKeys :one
select count(*) from api_keys where org_id = @org_id and revoked_at is null;

-- name: InsertAPIKey :exec
insert into api_keys (id, org_id, name, hash, prefix, scopes) values (@id, @org_id, @name, @hash, @prefix, @scopes);

-- name: UpsertNamedAPIKey :execrows
-- The key of the environment: set again, it is valid again. A key that another organisation holds is left alone.
insert into api_keys (id, org_id, name, hash, prefix, scopes) values (@id, @org_id, @name, @hash, @prefix, @scopes)
on conflict (hash) do update set revoked_at = null where api_keys.org_id = excluded.org_id;

-- name: RevokeOtherAPIKeys :exec
update api_keys set revoked_at = now()
where org_id = @org_id and name = @name and hash <> @hash and revoked_at is null;

-- name: APIKeyByHash :one
-- @sqlc-vet-disable tenant
select id, org_id, scopes from api_keys where hash = @hash and revoked_at is null;
