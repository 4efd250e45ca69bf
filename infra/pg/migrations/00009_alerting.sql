-- +goose Up
-- What a process that routes alerts must know of an organisation: version rises, under the row's lock, with every change of its alerts,
-- silences and configuration, and stands in the rows changed. So a reader that has seen version n misses nothing up to n. Every
-- transaction that raises it notifies tokiflow_alerting with the organisation's id.
create table alerting (
    org_id         uuid primary key references organisations (id) on delete cascade,
    version        bigint not null default 0,
    config         bytea,                         -- sealed: the YAML with its secrets and the templates; null: the default
    config_hash    text not null default '',      -- of what was put, without being of use to guess a secret
    config_version bigint not null default 0,     -- version at which it was put
    config_at      timestamptz,
    config_by      uuid                           -- the API key
);

-- Alerts that fire, or were resolved and not everybody was told of it yet: what an Alertmanager keeps in memory.
create table alerts (
    org_id          uuid not null references organisations (id) on delete cascade,
    fingerprint     text not null,                -- of the labels, as Alertmanager has it
    version         bigint not null,
    source          text not null,                -- incident, rule, api
    labels          jsonb not null,
    annotations     jsonb not null,
    generator_url   text not null default '',
    starts_at       timestamptz not null,
    ends_at         timestamptz,                  -- null: it fires until somebody says otherwise
    timeout         boolean not null default false, -- ends_at is an assumption of ours: the sender gave none
    updated_at      timestamptz not null,
    incident_id     uuid,                         -- of source incident and rule: the outbox row's
    monitor_id      uuid,                         -- of source incident
    acknowledged_at timestamptz,
    acknowledged_by text not null default '',
    primary key (org_id, fingerprint)
);
create index alerts_changed on alerts (org_id, version);
create index alerts_incident on alerts (org_id, incident_id);

-- Silences as Alertmanager's own protocol buffers, with what is looked for in columns.
create table silences (
    org_id     uuid not null references organisations (id) on delete cascade,
    id         text not null,
    version    bigint not null,
    ends_at    timestamptz not null,
    expires_at timestamptz not null,              -- when it is forgotten
    body       bytea not null,                    -- silencepb.MeshSilence, length-delimited
    primary key (org_id, id)
);
create index silences_changed on silences (org_id, version);

-- What each receiver of each group was told last: Alertmanager's notification log.
create table notification_log (
    org_id     uuid not null references organisations (id) on delete cascade,
    group_key  text not null,
    receiver   text not null,                     -- name/integration/index
    logged_at  timestamptz not null,
    expires_at timestamptz not null,
    body       bytea not null,                    -- nflogpb.MeshEntry, length-delimited
    primary key (org_id, group_key, receiver)
);
create index notification_log_expiry on notification_log (expires_at);

-- Every notification to a receiver of an organisation: one row for each flush of a group to one integration, with its attempts. What
-- went to the webhooks of the installation stands in deliveries and notifications.
create table sent_notifications (
    id              uuid primary key,
    org_id          uuid not null references organisations (id) on delete cascade,
    receiver        text not null,
    integration     text not null,                -- webhook[0], slack_app[0], …
    group_key       text not null,
    reason          text not null,                -- first notification, new alerts added, …
    alerts          jsonb not null,               -- [{fingerprint, status, labels, starts_at, ends_at, incident_id}]
    alert_count     integer not null,
    firing_count    integer not null,
    started_at      timestamptz not null,         -- of the first attempt
    attempts        integer not null,
    status          text not null,                -- delivered, retrying, failed
    status_code     integer,                      -- of the last answer
    error           text not null default '',     -- of the last attempt; free of secrets
    latency_seconds double precision not null,    -- of the last attempt
    ended_at        timestamptz                   -- null: it is being tried
);
create index sent_notifications_org on sent_notifications (org_id, started_at desc, id desc);

alter table outbox add column fed boolean not null default false; -- it is in alerts
-- What was said before this version: only what is still wrong becomes an alert.
update outbox o set fed = true
where not exists (select from incidents i where i.id = o.incident_id and i.resolved_at is null and o.type = 'incident.opened')
  and not (o.type = 'alert.firing' and not exists (
      select from outbox r where r.incident_id = o.incident_id and r.type = 'alert.resolved' and r.id > o.id));
create index outbox_unfed on outbox (id) where not fed;

-- +goose Down
drop index outbox_unfed;
alter table outbox drop column fed;
drop table sent_notifications, notification_log, silences, alerts, alerting;
