-- +goose Up
create table organisations (
    id         uuid primary key,
    name       text not null,
    created_at timestamptz not null default now()
);

create table projects (
    id         uuid primary key,
    org_id     uuid not null references organisations (id) on delete cascade,
    name       text not null,
    slug       text not null,
    ping_key   text not null unique, -- the {project key} of slug URLs: write-only
    created_at timestamptz not null default now(),
    unique (org_id, slug)
);

create table api_keys (
    id           uuid primary key,
    org_id       uuid not null references organisations (id) on delete cascade,
    name         text not null,
    hash         bytea not null unique, -- SHA-256 of the key: the key has 256 bits of its own, so no salt or stretching
    prefix       text not null,         -- its first characters, to tell keys apart
    scopes       text[] not null,
    created_at   timestamptz not null default now(),
    revoked_at   timestamptz
);

-- What a person said. config is the JSON of core/monitor.Config; the columns beside it are for lists and look-ups.
create table monitors (
    id         uuid primary key,
    org_id     uuid not null references organisations (id) on delete cascade,
    project_id uuid not null references projects (id) on delete cascade,
    ping_key   uuid not null unique,
    name       text not null,
    slug       text not null default '',
    tags       text[] not null default '{}',
    config     jsonb not null,
    paused     boolean not null default false, -- what was asked for; the status is the evaluator's
    version    bigint not null,                -- of the last control record
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index monitors_org on monitors (org_id, id);
create index monitors_slug on monitors (project_id, slug) where slug <> '';

-- Changes on their way into the log, in the transaction that made them. A key takes effect when its row here is gone.
create table control_queue (
    id         bigint generated always as identity primary key,
    org_id     uuid not null,
    monitor_id uuid not null,
    action     smallint not null, -- core/record.Action
    version    bigint not null,
    payload    bytea not null default '',
    created_at timestamptz not null default now()
);

-- The evaluator's own: the configuration in force and the state. No index on what each ping changes, so updates stay HOT.
create table monitor_states (
    monitor_id   uuid primary key,
    org_id       uuid not null,
    hash         integer not null, -- core/record.Hash: the partition is its remainder
    config       jsonb not null,
    state        jsonb not null,   -- core/monitor.State
    status       text not null,
    last_ping_at timestamptz,
    due_at       timestamptz,
    deadline_at  timestamptz,
    open_runs    integer not null default 0,
    updated_at   timestamptz not null default now()
) with (fillfactor = 60);

create table incidents (
    id              uuid primary key,
    org_id          uuid not null,
    monitor_id      uuid not null,
    monitor_name    text not null,
    kind            text not null,
    status          text not null default 'open',
    severity        text not null,
    opened_at       timestamptz not null,
    acknowledged_at timestamptz,
    acknowledged_by uuid,
    resolved_at     timestamptz,
    resolution      text not null default '',
    evidence        jsonb not null
);
create unique index incidents_open on incidents (monitor_id, kind) where resolved_at is null;
create index incidents_org on incidents (org_id, opened_at desc, id desc);
create index incidents_monitor on incidents (org_id, monitor_id, opened_at desc, id desc);

-- What must be said: a row for each opened and resolved incident, written with it.
create table outbox (
    id          bigint generated always as identity primary key,
    org_id      uuid not null,
    incident_id uuid not null,
    type        text not null, -- incident.opened, incident.resolved
    payload     jsonb not null,
    created_at  timestamptz not null default now(),
    fanned_out  boolean not null default false
);
create index outbox_waiting on outbox (id) where not fanned_out;

-- An outbox row on its way to one receiver.
create table deliveries (
    id              bigint generated always as identity primary key,
    outbox_id       bigint not null references outbox (id) on delete cascade,
    org_id          uuid not null,
    incident_id     uuid not null,
    receiver        text not null,
    attempts        integer not null default 0,
    next_attempt_at timestamptz not null default now(),
    delivered_at    timestamptz,
    unique (outbox_id, receiver)
);
create index deliveries_waiting on deliveries (receiver, (attempts > 0), next_attempt_at) where delivered_at is null;
create index deliveries_incident on deliveries (incident_id, receiver, id);

-- One row an attempt.
create table notifications (
    id              bigint generated always as identity primary key,
    delivery_id     bigint not null references deliveries (id) on delete cascade,
    org_id          uuid not null,
    incident_id     uuid not null,
    receiver        text not null,
    attempt         integer not null,
    at              timestamptz not null default now(),
    status_code     integer,
    error           text not null default '',
    latency_seconds double precision not null
);
create index notifications_incident on notifications (org_id, incident_id, id);
create index notifications_delivery on notifications (delivery_id);

-- How far each consumer is. epoch fences: it rises with each assignment, and a commit must name the current one.
create table log_offsets (
    log_id      text not null,
    consumer    text not null,
    partition   integer not null,
    next_offset bigint not null default 0,
    epoch       bigint not null default 0,
    clock       jsonb not null default '{}', -- core/logclock.Clock
    updated_at  timestamptz not null default now(),
    primary key (log_id, consumer, partition)
);

-- Time in which pings of a partition could not be received. Not a tenant's data: it says nothing of any of them.
create table gaps (
    log_id     text not null,
    partition  integer not null,
    partitions integer not null, -- how many there were: partition = core/record.Hash % partitions
    started_at timestamptz not null,
    ended_at   timestamptz not null,
    primary key (log_id, partition, started_at)
);

-- +goose Down
drop table gaps, log_offsets, notifications, deliveries, outbox, incidents, monitor_states, control_queue, monitors, api_keys, projects, organisations;
