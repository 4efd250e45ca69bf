-- name: PutSlackWorkspace :exec
insert into slack_workspaces (org_id, team_id, team_name, app_id, bot_user_id, scopes, channel, channel_id, sealed, installed_by, installed_at)
values (@org_id, @team_id, @team_name, @app_id, @bot_user_id, @scopes, @channel, @channel_id, @sealed, @installed_by, @installed_at)
on conflict (org_id) do update set
    team_id = excluded.team_id, team_name = excluded.team_name, app_id = excluded.app_id, bot_user_id = excluded.bot_user_id,
    scopes = excluded.scopes, channel = excluded.channel, channel_id = excluded.channel_id, sealed = excluded.sealed,
    installed_by = excluded.installed_by, installed_at = excluded.installed_at, revoked_at = null, revoked_reason = '';

-- name: SlackWorkspace :one
select * from slack_workspaces where org_id = @org_id;

-- name: DeleteSlackWorkspace :one
delete from slack_workspaces where org_id = @org_id returning *;

-- name: SlackTeam :many
-- A request of Slack names the workspace; this is what finds the organisations.
-- @sqlc-vet-disable tenant
select * from slack_workspaces where team_id = @team_id order by org_id;

-- name: RevokeSlackWorkspace :execrows
-- Only the installation that was meant: one made since stays as it is.
update slack_workspaces set revoked_at = now(), revoked_reason = @reason
where org_id = @org_id and installed_at = @installed_at and revoked_at is null;

-- name: RevokeSlackTeam :execrows
-- @sqlc-vet-disable tenant
update slack_workspaces set revoked_at = now(), revoked_reason = @reason
where team_id = @team_id and installed_at <= @before and revoked_at is null;

-- name: ForgetSlackChannels :exec
delete from slack_channels where org_id = @org_id;

-- name: UseSlackChannel :exec
-- Nothing where there is no workspace any more.
insert into slack_channels (org_id, channel_id, used_at)
select w.org_id, @channel_id::text, now() from slack_workspaces w where w.org_id = @org_id
on conflict (org_id, channel_id) do update set used_at = excluded.used_at;

-- name: SlackChannelUsed :one
select exists (select from slack_channels where org_id = @org_id and channel_id = @channel_id);

-- name: PutSlackState :exec
insert into slack_states (org_id, nonce, expires_at) values (@org_id, @nonce, @expires_at);

-- name: TakeSlackState :execrows
delete from slack_states where org_id = @org_id and nonce = @nonce and expires_at > now();

-- name: PruneSlackStates :exec
-- @sqlc-vet-disable tenant
delete from slack_states where expires_at <= now();

-- name: SeeSlackRequest :execrows
-- @sqlc-vet-disable tenant
insert into slack_requests (sum, expires_at) values (@sum, @expires_at) on conflict do nothing;

-- name: PruneSlackRequests :exec
-- Those that others are removing are left to them.
-- @sqlc-vet-disable tenant
delete from slack_requests r using (
    select sum from slack_requests where expires_at <= now() limit 100 for update skip locked
) old where r.sum = old.sum;
