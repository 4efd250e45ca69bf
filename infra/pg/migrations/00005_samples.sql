-- What others write to us: series and their samples. With TimescaleDB under its own licence samples is a hypertable with a columnstore;
-- else a table, of which samples.Upkeep packs finished hours into samples_packed. docs/adr/0010-samples.md says why and how small.

-- +goose Up
create table series (
    id        bigint generated always as identity primary key,
    org_id    uuid not null,
    hash      uuid not null,  -- of the organisation and the labels
    name      text not null,  -- __name__
    labels    jsonb not null, -- the others
    first_day integer not null, -- its samples are of these days, counted since 1970 UTC
    last_day  integer not null,
    seen_at   timestamptz not null default now(), -- when a writer last asked for it: those in use ask every 12 hours
    unique (org_id, hash)
) with (fillfactor = 90);
create index series_name on series (org_id, name);
create index series_labels on series using gin (labels jsonb_path_ops);

-- Samples, each instant of a series once, as tsdb/samples.Writer sees to: a unique index would cost the same again.
create table samples (
    series_id bigint not null,
    at        timestamptz not null, -- whole milliseconds
    value     double precision not null,
    histogram bytea -- a message prometheus.Histogram; value is 0 then
);

-- Samples of one series in one window of two hours, in order of time. An instant may come again in a later row of the same window, or
-- in samples: the first counts.
create table samples_packed (
    id        bigint generated always as identity primary key,
    series_id bigint not null,
    first_at  timestamptz not null,
    last_at   timestamptz not null,
    form      smallint not null, -- tsdb/samples.form
    data      bytea not null
);
alter table samples_packed alter column data set storage external; -- it is small as it is
create index samples_packed_series on samples_packed (series_id, first_at);
create index samples_packed_time on samples_packed (last_at);

create table series_metadata (
    org_id uuid not null,
    name   text not null, -- of the metric family
    type   text not null,
    help   text not null,
    unit   text not null,
    primary key (org_id, name)
);

-- +goose StatementBegin
do $$
begin
    if tokiflow_level() = 'community' then
        perform create_hypertable('samples', by_range('at', interval '1 day'), create_default_indexes => false);
        alter table samples set (timescaledb.enable_columnstore, timescaledb.segmentby = 'series_id', timescaledb.orderby = 'at');
        call add_columnstore_policy('samples', after => interval '2 hours');
    else
        -- Rows come and go within hours: dead ones must be found early, so that their room is used again.
        alter table samples set (autovacuum_vacuum_scale_factor = 0.05);
    end if;
end
$$;
-- +goose StatementEnd
create index samples_series on samples (series_id, at);

-- +goose Down
drop table series_metadata, samples_packed, samples, series;
