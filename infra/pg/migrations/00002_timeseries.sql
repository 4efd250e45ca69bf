-- The time series: pings, runs and transitions. They are hypertables where TimescaleDB is there, else tables; their names
-- and columns are the same. docs/adr/0005-three-levels.md tells the levels and why these indexes.

-- +goose Up
-- +goose StatementBegin
do $$
declare
    level   text := 'plain';
    version int[];
begin
    -- The loader defines this setting; without it in shared_preload_libraries the extension cannot be created.
    if current_setting('timescaledb.disable_load', true) is not null
       and exists (select from pg_available_extensions where name = 'timescaledb') then
        begin
            create extension if not exists timescaledb;
        exception when insufficient_privilege then
            raise notice 'this role may not create the extension timescaledb: the tables will be plain ones';
        end;
    end if;
    select string_to_array(substring(extversion from '^\d+\.\d+'), '.')::int[] into version
    from pg_extension where extname = 'timescaledb';
    if version is not null then
        level := case
            when current_setting('timescaledb.license', true) = 'timescale' and version >= array[2, 18] then 'community'
            else 'apache'
        end;
    end if;
    execute format($f$
        create function tokiflow_level() returns text language sql immutable parallel safe as %L
    $f$, format('select %L::text', level));

    if level = 'plain' then
        -- As TimescaleDB's, for widths of a day and less.
        create function time_bucket(bucket_width interval, ts timestamptz) returns timestamptz
            language sql immutable strict parallel safe
            return date_bin(bucket_width, ts, timestamptz '2000-01-03 00:00:00+00');
    end if;
end
$$;
-- +goose StatementEnd

-- Every ping, once. Filled by tsdb.Writer with COPY: no key, and one index.
create table pings (
    received_at      timestamptz not null,
    org_id           uuid not null,
    monitor_id       uuid not null,
    id               uuid not null,
    kind             smallint not null, -- core/record.PingKind
    exit_code        smallint,
    duration_seconds double precision,  -- given by the client
    rid              uuid,
    body_size        bigint not null,   -- bytes the client sent
    remote_addr      text not null,
    user_agent       text not null,
    method           text not null,
    body             bytea              -- what is kept of them
);

-- Paired executions, finished. Written by the evaluator.
create table runs (
    finished_at      timestamptz not null,
    org_id           uuid not null,
    monitor_id       uuid not null,
    run_id           uuid not null,
    started_at       timestamptz,
    duration_seconds double precision,
    lateness_seconds double precision,
    exit_code        smallint,
    outcome          text not null -- core/monitor.Outcome
);

-- Changes of status. Written by the evaluator.
create table transitions (
    at                  timestamptz not null,
    org_id              uuid not null,
    monitor_id          uuid not null,
    id                  bigint generated always as identity, -- tells the order of those of one instant
    seconds_in_previous double precision not null, -- in from_status, without the gaps
    from_status         text not null,             -- core/monitor.Status
    to_status           text not null,
    reason              text not null
);

-- Few and large chunks: planning over many is what makes short reads slow.
-- +goose StatementBegin
do $$
begin
    if tokiflow_level() <> 'plain' then
        perform create_hypertable('pings', by_range('received_at', interval '7 days'), create_default_indexes => false);
        perform create_hypertable('runs', by_range('finished_at', interval '30 days'), create_default_indexes => false);
        perform create_hypertable('transitions', by_range('at', interval '90 days'), create_default_indexes => false);
        -- Old rows leave with their chunk, so a block range index stays sharp, and costs nothing to keep.
        create index runs_time on runs using brin (finished_at);
        create index transitions_time on transitions using brin (at);
    else
        -- Old rows are deleted and their room is used again: there a block range index would blur.
        create index runs_time on runs (finished_at);
        create index transitions_time on transitions (at);
    end if;
end
$$;
-- +goose StatementEnd
create index pings_monitor on pings (monitor_id, received_at desc);
create index runs_monitor on runs (monitor_id, finished_at desc);
create index transitions_monitor on transitions (monitor_id, at desc);

-- +goose StatementBegin
do $$
begin
    if tokiflow_level() = 'community' then
        alter table pings set (timescaledb.enable_columnstore, timescaledb.segmentby = 'org_id, monitor_id',
            timescaledb.orderby = 'received_at desc, id desc');
        alter table runs set (timescaledb.enable_columnstore, timescaledb.segmentby = 'org_id, monitor_id',
            timescaledb.orderby = 'finished_at desc');
        alter table transitions set (timescaledb.enable_columnstore, timescaledb.segmentby = 'org_id, monitor_id',
            timescaledb.orderby = 'at desc');
        call add_columnstore_policy('pings', after => interval '7 days');
        call add_columnstore_policy('runs', after => interval '30 days');
        call add_columnstore_policy('transitions', after => interval '90 days');
    end if;
end
$$;
-- +goose StatementEnd

-- +goose Down
drop table transitions, runs, pings;
-- +goose StatementBegin
do $$
begin
    if tokiflow_level() = 'plain' then
        drop function time_bucket(interval, timestamptz);
    end if;
end
$$;
-- +goose StatementEnd
drop function tokiflow_level();
