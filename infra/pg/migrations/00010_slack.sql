-- +goose Up
-- The Slack workspace of an organisation. One workspace may serve several organisations.
create table slack_workspaces (
    org_id         uuid primary key references organisations (id) on delete cascade,
    team_id        text not null,
    team_name      text not null,
    app_id         text not null,
    bot_user_id    text not null,
    scopes         text[] not null,
    channel        text not null default '',     -- chosen at the installation; empty: none
    channel_id     text not null default '',
    sealed         bytea not null,               -- the bot's token
    installed_by   text not null default '',     -- Slack's id of the person
    installed_at   timestamptz not null,
    revoked_at     timestamptz,                  -- null: it works, as far as is known
    revoked_reason text not null default ''
);
create index slack_workspaces_team on slack_workspaces (team_id);

-- The channels that an organisation posted to: of several organisations in one workspace a command is for the one whose channel it is.
create table slack_channels (
    org_id     uuid not null references slack_workspaces (org_id) on delete cascade,
    channel_id text not null,
    used_at    timestamptz not null,
    primary key (org_id, channel_id)
);

-- Installations that were begun: each row goes when it is completed, or has expired.
create table slack_states (
    org_id     uuid not null references organisations (id) on delete cascade,
    nonce      uuid not null,
    expires_at timestamptz not null,
    primary key (org_id, nonce)
);
create index slack_states_expiry on slack_states (expires_at);

-- Signed requests of Slack that were served, until their signature has expired: none is served twice, by whatever process.
create table slack_requests (
    sum        bytea primary key,                -- SHA-256 of what is signed
    expires_at timestamptz not null
);
create index slack_requests_expiry on slack_requests (expires_at);

-- +goose Down
drop table slack_requests, slack_states, slack_channels, slack_workspaces;
