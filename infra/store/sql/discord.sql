-- name: PutDiscordConnection :exec
insert into discord_connections (org_id, name, webhook_id, webhook_name, channel_id, guild_id, sealed, connected_at)
values (@org_id, @name, @webhook_id, @webhook_name, @channel_id, @guild_id, @sealed, @connected_at)
on conflict (org_id, name) do update set
    webhook_id = excluded.webhook_id, webhook_name = excluded.webhook_name, channel_id = excluded.channel_id,
    guild_id = excluded.guild_id, sealed = excluded.sealed, connected_at = excluded.connected_at;

-- name: DiscordConnection :one
select * from discord_connections where org_id = @org_id and name = @name;

-- name: DiscordConnections :many
select * from discord_connections where org_id = @org_id order by name;

-- name: DeleteDiscordConnection :execrows
delete from discord_connections where org_id = @org_id and name = @name;

-- name: AddDiscordState :exec
insert into discord_states (org_id, sum, browser, name, expires_at)
values (@org_id, @sum, @browser, @name, @expires_at);

-- name: TakeDiscordState :one
-- A state is taken once, whether it has expired or not, and by the browser that began it only.
delete from discord_states where org_id = @org_id and sum = @sum and browser = @browser
returning name, expires_at;

-- name: PruneDiscordStates :exec
-- @sqlc-vet-disable tenant
delete from discord_states where expires_at <= @at::timestamptz;
