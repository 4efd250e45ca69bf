-- name: CountAPIKeys :one
select count(*) from api_keys where org_id = @org_id and revoked_at is null;

-- name: InsertAPIKey :one
insert into api_keys (id, org_id, name, hash, prefix, scopes) values (@id, @org_id, @name, @hash, @prefix, @scopes)
returning created_at;

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

-- name: LockAPIKeys :exec
-- Makes changes to an organisation's keys wait for each other. Rows that refer to the organisation are written meanwhile.
-- @sqlc-vet-disable tenant
select id from organisations where id = @id for no key update;

-- name: APIKeys :many
select id, name, prefix, scopes, created_at, revoked_at from api_keys
where org_id = @org_id and id > @after_id order by id limit @max_rows;

-- name: APIKey :one
select scopes, revoked_at from api_keys where org_id = @org_id and id = @id;

-- name: CountAPIKeysBeside :one
-- The living ones with a scope, without one of them.
select count(*) from api_keys
where org_id = @org_id and id <> @id and @scope::text = any (scopes) and revoked_at is null;

-- name: RevokeAPIKey :exec
update api_keys set revoked_at = now() where org_id = @org_id and id = @id and revoked_at is null;
