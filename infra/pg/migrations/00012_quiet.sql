-- +goose Up
-- Maintenance windows as somebody wrote them. Their occurrences are planned a day ahead, which makes silences of them.
create table maintenance_windows (
    id         uuid primary key,
    org_id     uuid not null references organisations (id) on delete cascade,
    name       text not null,
    comment    text not null default '',
    scope      jsonb not null,              -- core/quiet.Scope
    time       jsonb not null,              -- core/quiet.Time
    created_by uuid,                        -- the API key
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz,                 -- kept for its occurrences
    next_at    timestamptz                  -- when the next occurrence to be planned begins; null: there is none
);
create index maintenance_windows_org on maintenance_windows (org_id, id) where deleted_at is null;
create index maintenance_windows_next on maintenance_windows (next_at) where deleted_at is null and next_at is not null;

-- Each time a window was on, is on, or will be on within a day. What was is kept as it was: figures leave it out.
create table maintenance_occurrences (
    org_id    uuid not null references organisations (id) on delete cascade,
    window_id uuid not null references maintenance_windows (id) on delete cascade,
    due_at    timestamptz not null,         -- when it was to begin
    name      text not null,
    scope     jsonb not null,
    starts_at timestamptz not null,
    ends_at   timestamptz not null,         -- as starts_at: it never was
    cancelled boolean not null default false, -- its window was changed or deleted before it was over
    silenced  text[] not null default '{}', -- for which kinds of things in scopes silences of it were stored
    revision  bigint not null default 1,
    told      bigint not null default 0,    -- the revision of which silences were stored, or needed not be
    primary key (window_id, due_at)
);
create index maintenance_occurrences_org on maintenance_occurrences (org_id, ends_at);
create index maintenance_occurrences_untold on maintenance_occurrences (org_id) where told < revision;

-- What a monitor depends on. There are no cycles: changes of an organisation's take turns.
create table monitor_dependencies (
    org_id     uuid not null references organisations (id) on delete cascade,
    monitor_id uuid not null references monitors (id) on delete cascade,
    parent_id  uuid not null references monitors (id) on delete cascade,
    primary key (monitor_id, parent_id)
);
create index monitor_dependencies_org on monitor_dependencies (org_id);
create index monitor_dependencies_parent on monitor_dependencies (parent_id);

alter table alerting add column dependencies_version bigint not null default 0; -- version at which dependencies changed last

-- +goose Down
alter table alerting drop column dependencies_version;
drop table monitor_dependencies, maintenance_occurrences, maintenance_windows;
