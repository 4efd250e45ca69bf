-- What organisations send on. docs/forwarding.md tells what becomes of it.

-- +goose Up
create table forwards (
    org_id          uuid not null references organisations (id) on delete cascade,
    name            text not null,
    kind            text not null,  -- core/forward.Kind, as in config
    config          jsonb not null, -- core/forward.Config
    hints           jsonb not null, -- core/forward.Hints
    sealed          bytea not null, -- core/forward.Secret, sealed by infra/seal
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    position        timestamptz not null default now(), -- the instant up to which everything was sent, or refused
    sent_at         timestamptz,
    error           text not null default '',
    error_at        timestamptz,
    sent            bigint not null default 0, -- samples, as the next
    rejected        bigint not null default 0,
    skipped_seconds double precision not null default 0,
    failed_tries    bigint not null default 0, -- since the position last moved
    -- One process works on it. epoch fences: it rises with each claim and each change, and whatever is written in a claim's name
    -- must name the current one. It begins where no forward of this name has been before.
    holder          uuid,
    epoch           bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint,
    leased_until    timestamptz not null default now(),
    primary key (org_id, name)
) with (fillfactor = 70);

-- +goose Down
drop table forwards;
