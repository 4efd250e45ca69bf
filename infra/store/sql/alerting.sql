-- name: RaiseAlerting :one
-- The first statement of whatever changes an organisation's alerting: the lock on the row puts such transactions in order, so
-- versions become visible as they rise. No row comes back where the organisation is gone.
insert into alerting (org_id, version)
select o.id, 1 from organisations o where o.id = @org_id
on conflict (org_id) do update set version = alerting.version + 1
returning version, config_version;

-- name: LockAlerting :exec
select from alerting where org_id = @org_id for no key update;

-- name: NotifyAlerting :exec
-- @sqlc-vet-disable tenant
select pg_notify('tokiflow_alerting', @org::text);

-- name: AlertingVersion :one
select version, config_version from alerting where org_id = @org_id;

-- name: BusyAlerting :many
-- @sqlc-vet-disable tenant
select a.org_id, a.version from alerting a
where exists (select from alerts l where l.org_id = a.org_id)
order by a.org_id;

-- name: AlertingVersions :many
-- @sqlc-vet-disable tenant
select a.org_id, a.version from alerting a where a.org_id = any (@orgs::uuid[]) order by a.org_id;

-- name: AlertingConfig :one
select config, config_hash, config_version, config_at from alerting where org_id = @org_id;

-- name: PutAlertingConfig :exec
update alerting set config = @config, config_hash = @config_hash, config_version = version, config_at = now(), config_by = @config_by
where org_id = @org_id;
