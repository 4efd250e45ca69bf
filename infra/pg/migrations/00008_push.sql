-- +goose Up
-- What was pushed by the Pushgateway's API: each row is a standing set of values, which hold until they are pushed again, deleted, or
-- expire. The body is out of line and not compressed again, so that an update that leaves it alone does not copy it.
create table push_groups (
    org_id     uuid not null references organisations (id) on delete cascade,
    key        bytea not null,          -- SHA-256 of the grouping labels
    labels     jsonb not null,          -- the grouping labels, by name
    body       bytea not null,          -- metrics and their series, as ingest/pushgateway writes them
    ttl_ms     bigint not null,         -- 0: it stands for ever
    pushed_at  timestamptz,             -- the last push that was taken
    failed_at  timestamptz,             -- the last one that was not
    expires_at timestamptz,
    last_at    timestamptz not null,    -- samples of it are written up to here, but for those of push_beat
    primary key (org_id, key)
) with (fillfactor = 85, toast_tuple_target = 256);
alter table push_groups alter column body set storage external;
create index push_groups_expiring on push_groups (expires_at) where expires_at is not null;

-- The types of the metrics in push_groups: one metric has one type in all groups of an organisation.
create table push_metrics (
    org_id uuid not null,
    key    bytea not null,
    name   text not null,
    type   text not null,
    primary key (org_id, key, name),
    foreign key (org_id, key) references push_groups (org_id, key) on delete cascade
);
create index push_metrics_by_name on push_metrics (org_id, name, type);

-- The instant for which the values of all groups were written last. One row, made by the first who writes them.
create table push_beat (
    only_row boolean primary key default true check (only_row),
    at       timestamptz not null
);

-- +goose Down
drop table push_beat;
drop table push_metrics;
drop table push_groups;
