-- +goose Up
-- Channels of Discord that an organisation may post to: each is a webhook that Discord made when somebody allowed it.
create table discord_connections (
    org_id       uuid not null references organisations (id) on delete cascade,
    name         text not null,                 -- as configurations call it
    webhook_id   text not null,                 -- Discord's
    webhook_name text not null,
    channel_id   text not null,
    guild_id     text not null,
    sealed       bytea not null,                -- the webhook's URL, which is all that is needed to post
    connected_at timestamptz not null,
    primary key (org_id, name)
);

-- Connections that were begun: each row goes when it is completed, or has expired.
create table discord_states (
    org_id     uuid not null references organisations (id) on delete cascade,
    sum        bytea not null,                  -- SHA-256 of the state that Discord hands back
    browser    bytea not null,                  -- SHA-256 of what the browser keeps
    name       text not null,                   -- of the connection to be
    expires_at timestamptz not null,
    primary key (org_id, sum)
);
create index discord_states_expiry on discord_states (expires_at);

-- +goose Down
drop table discord_states, discord_connections;
