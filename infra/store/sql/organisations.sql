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
