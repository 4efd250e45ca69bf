-- runs_hourly, runs_daily, runs_weekly and availability_daily: what is read instead of the rows. One text of each SELECT serves
-- all three levels. With TimescaleDB under its own licence they are real-time continuous aggregates. Else they are views
-- over a table of finished buckets, which tokiflow_roll_up fills, and the rows since then: docs/adr/0005.
--
-- At each level <name>_stored has the finished buckets alone, those before tokiflow_rolled_to('<name>'). tsdb reads these and the
-- rows since: through the whole it would plan and scan the unfinished part of every aggregate for nothing.
--
-- A histogram is a row of 4-byte entries, each 10 bits of bucket and 21 bits of count; entries of the same bucket add up, so
-- that histograms are merged by putting one behind the other. Bucket 0 holds values up to 1 µs, bucket b those in
-- (1.05^(b−1), 1.05^b] µs. (The buckets are DDSketch's: Masson, Rim, Lee, VLDB 2019; see tsdb/histogram.go.)

-- +goose Up
-- Not declared strict: PostgreSQL would call it row by row instead of putting its body in its place.
create function tokiflow_histogram_entry(seconds double precision) returns integer
    language sql immutable parallel safe
    return (case when seconds <= 1e-6 then 0
                 when seconds > 1e15 then 1023
                 else ceil(ln(seconds / 1e-6) / ln(1.05::double precision))::integer
            end << 21) | 1;

-- Adds up the entries of each bucket. The aggregates leave few entries as they are: the call would cost more than it saves.
-- +goose StatementBegin
create function tokiflow_histogram_pack(entries bytea) returns bytea
    language sql immutable strict parallel safe as $$
    select string_agg(int4send((bucket << 21) | least(n - part * 2097151, 2097151)::integer), ''::bytea order by bucket)
    from (select entry >> 21 as bucket, sum(entry & 2097151) as n
          from (select (get_byte(entries, i) << 24) | (get_byte(entries, i + 1) << 16)
                       | (get_byte(entries, i + 2) << 8) | get_byte(entries, i + 3) as entry
                from generate_series(0, length(entries) - 4, 4) as i) as unpacked
          group by 1) as buckets,
         generate_series(0, (n - 1) / 2097151) as part
$$;
-- +goose StatementEnd

-- What tokiflow_roll_up keeps; empty with continuous aggregates.
create table tokiflow_rollups (
    position    integer primary key,      -- a rollup reads only those before it
    name        text not null unique,     -- of the view; the finished buckets are in <name>_stored
    body        text not null,            -- its SELECT, with %s for a WHERE
    width       interval not null,
    source      text not null,            -- the table it is made of
    source_time text not null,
    rolled_to   timestamptz not null default '-infinity', -- buckets before it are stored, those since are computed by the view
    seen        bigint not null default 0 -- what earlier transactions wrote is in them
);

-- +goose StatementBegin
create function tokiflow_add_rollup(pos integer, view text, body text, width interval, source text, source_time text)
    returns void language plpgsql as $$
declare
    stored  constant text := view || '_stored';
    base    constant text := case when source like 'runs\_%' then source || '_stored' else source end;
    columns text;
begin
    execute format('create table %I as ', stored) || format(body, '') || ' with no data';
    select string_agg(quote_ident(attname), ', ' order by attnum) into columns
    from pg_attribute where attrelid = stored::regclass and attnum > 0;
    execute format('alter table %I add primary key (monitor_id, bucket)', stored);
    execute format('create index on %I (org_id, bucket)', stored);
    insert into tokiflow_rollups values (pos, view, body, width, base, source_time);
    -- Two bounds, or the planner would expect a third of the table behind one that it cannot see.
    execute format('create view %I as select %s from %I union all ', view, columns, stored)
        || format(body, format('where %1$I >= (select rolled_to from tokiflow_rollups where name = %2$L) and %1$I < %3$L',
                               source_time, view, 'infinity'));
    -- The writing transaction tells which rows came after their bucket was stored.
    if base <> source then
        execute format('alter table %I add column written_in bigint not null default pg_current_xact_id()::text::bigint', base);
    end if;
    execute format('create index on %I using brin (written_in) with (autosummarize = on)', base);
end
$$;
-- +goose StatementEnd

-- Stores the buckets that end by "until", and anew those into which rows were written since. Returns how many it wrote. One
-- call at a time; the views show the same before, during and after. until should lie behind now by more than the evaluator
-- usually needs: a row later than that is shown from the next call on.
-- +goose StatementBegin
create function tokiflow_roll_up(until timestamptz) returns bigint language plpgsql as $$
declare
    r       tokiflow_rollups;
    horizon bigint;
    upto    timestamptz;
    columns text;
    head    text;
    tail    text;
    n       bigint;
    total   bigint := 0;
begin
    for r in select * from tokiflow_rollups order by position for update loop
        -- Rows of transactions under way now are not seen below; they are "written since" at the next call.
        horizon := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
        if r.seen > horizon then -- restored into a cluster whose transactions are counted anew
            execute format('delete from %I', r.name || '_stored');
            r.rolled_to := '-infinity';
        end if;
        upto := greatest(r.rolled_to, time_bucket(r.width, until));
        select string_agg(quote_ident(attname), ', ' order by attnum),
               string_agg(format('%1$I = excluded.%1$I', attname), ', ' order by attnum)
          into columns, tail
        from pg_attribute
        where attrelid = (r.name || '_stored')::regclass and attnum > 0 and not attisdropped and attname <> 'written_in';
        head := format('insert into %I (%s) ', r.name || '_stored', columns);
        tail := ' on conflict (monitor_id, bucket) do update set ' || tail;
        if exists (select from tokiflow_rollups where source = r.name || '_stored') then
            tail := tail || ', written_in = default';
        end if;

        execute head
            || format('select %s from (select distinct monitor_id as late_id, time_bucket($1, %I) as late from %I
                                       where written_in >= $2 and %2$I < $3) as l cross join lateral (',
                      columns, r.source_time, r.source)
            || format(r.body, format('where monitor_id = late_id and %I >= late and %1$I < late + $1', r.source_time))
            || ') as b' || tail
            using r.width, r.seen, r.rolled_to;
        get diagnostics n = row_count;
        total := total + n;

        execute head || format(r.body, format('where %I >= $1 and %1$I < $2', r.source_time)) || tail
            using r.rolled_to, upto;
        get diagnostics n = row_count;
        total := total + n;
        update tokiflow_rollups set rolled_to = upto, seen = horizon where name = r.name;
    end loop;
    return total;
end
$$;
-- +goose StatementEnd

-- +goose StatementBegin
do $$
declare
    hourly constant text := $q$
        select org_id, monitor_id, time_bucket(interval '1 hour', finished_at) as bucket,
               count(*) as runs,
               count(*) filter (where outcome = 'success') as succeeded,
               count(*) filter (where outcome = 'fail') as failed,
               count(*) filter (where outcome = 'missed') as missed,
               count(*) filter (where outcome = 'abandoned') as abandoned,
               count(*) filter (where outcome = 'unknown') as unknown,
               count(duration_seconds) as durations,
               sum(duration_seconds) as duration_sum,
               sum(duration_seconds * duration_seconds) as duration_sum2,
               min(duration_seconds) as duration_min,
               max(duration_seconds) as duration_max,
               case when count(duration_seconds) <= 64 then string_agg(int4send(tokiflow_histogram_entry(duration_seconds)), ''::bytea)
                    else tokiflow_histogram_pack(string_agg(int4send(tokiflow_histogram_entry(duration_seconds)), ''::bytea))
               end as duration_histogram,
               count(lateness_seconds) as latenesses,
               sum(lateness_seconds) as lateness_sum,
               sum(lateness_seconds * lateness_seconds) as lateness_sum2,
               min(lateness_seconds) as lateness_min,
               max(lateness_seconds) as lateness_max,
               case when count(lateness_seconds) <= 64 then string_agg(int4send(tokiflow_histogram_entry(lateness_seconds)), ''::bytea)
                    else tokiflow_histogram_pack(string_agg(int4send(tokiflow_histogram_entry(lateness_seconds)), ''::bytea))
               end as lateness_histogram
        from runs %s group by 1, 2, 3 $q$;
    -- With the width and the relation it is made of.
    wider constant text := $q$
        select org_id, monitor_id, time_bucket(interval %1$L, bucket) as bucket,
               sum(runs)::bigint as runs,
               sum(succeeded)::bigint as succeeded,
               sum(failed)::bigint as failed,
               sum(missed)::bigint as missed,
               sum(abandoned)::bigint as abandoned,
               sum(unknown)::bigint as unknown,
               sum(durations)::bigint as durations,
               sum(duration_sum) as duration_sum,
               sum(duration_sum2) as duration_sum2,
               min(duration_min) as duration_min,
               max(duration_max) as duration_max,
               case when sum(durations) <= 64 then string_agg(duration_histogram, ''::bytea)
                    else tokiflow_histogram_pack(string_agg(duration_histogram, ''::bytea))
               end as duration_histogram,
               sum(latenesses)::bigint as latenesses,
               sum(lateness_sum) as lateness_sum,
               sum(lateness_sum2) as lateness_sum2,
               min(lateness_min) as lateness_min,
               max(lateness_max) as lateness_max,
               case when sum(latenesses) <= 64 then string_agg(lateness_histogram, ''::bytea)
                    else tokiflow_histogram_pack(string_agg(lateness_histogram, ''::bytea))
               end as lateness_histogram
        from %2$I %%s group by 1, 2, time_bucket(interval %1$L, bucket) $q$;
    -- A transition's seconds count in the bucket in which the status was left; first_… is what a reader needs to clip the
    -- part of them that lies before its window.
    availability constant text := $q$
        select org_id, monitor_id, time_bucket(interval '1 day', at) as bucket,
               coalesce(sum(seconds_in_previous) filter (where from_status = 'up'), 0) as up_seconds,
               coalesce(sum(seconds_in_previous) filter (where from_status = 'late'), 0) as late_seconds,
               coalesce(sum(seconds_in_previous) filter (where from_status = 'down'), 0) as down_seconds,
               coalesce(sum(seconds_in_previous) filter (where from_status = 'paused'), 0) as paused_seconds,
               coalesce(sum(seconds_in_previous) filter (where from_status = 'new'), 0) as new_seconds,
               count(*) filter (where to_status = 'down' and from_status <> 'down') as failures,
               count(*) filter (where from_status = 'down' and to_status <> 'down') as recoveries,
               count(*) as transitions,
               min(at) as first_at,
               max(at) as last_at,
               (array_agg(from_status order by at, id))[1] as first_status,
               (array_agg(seconds_in_previous order by at, id))[1] as first_seconds
        from transitions %s group by 1, 2, 3 $q$;
    r      record;
    stored text;
begin
    for r in
        select * from (values
            (1, 'runs_hourly', hourly, interval '1 hour', 'runs', 'finished_at'),
            (2, 'runs_daily', format(wider, '1 day', 'runs_hourly'), interval '1 day', 'runs_hourly', 'bucket'),
            (3, 'runs_weekly', format(wider, '7 days', 'runs_daily'), interval '7 days', 'runs_daily', 'bucket'), -- from Monday
            (4, 'availability_daily', availability, interval '1 day', 'transitions', 'at')
        ) as v (position, name, body, width, source, source_time)
        order by position
    loop
        if tokiflow_level() = 'community' then
            execute format('create materialized view %I with (timescaledb.continuous, timescaledb.materialized_only = false) as ', r.name)
                || format(r.body, '') || ' with no data';
            select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name) into stored
            from timescaledb_information.continuous_aggregates where view_name = r.name;
            execute format('create view %I as select * from %s', r.name || '_stored', stored);
        else
            perform tokiflow_add_rollup(r.position, r.name, r.body, r.width, r.source, r.source_time);
        end if;
    end loop;
    if tokiflow_level() = 'community' then
        -- From the table, not by cagg_watermark: it must be of the same snapshot as the buckets.
        create function tokiflow_rolled_to(aggregate text) returns timestamptz language sql stable as $f$
            select coalesce(_timescaledb_functions.to_timestamp(w.watermark), '-infinity')
            from timescaledb_information.continuous_aggregates a
            join _timescaledb_catalog.hypertable h
              on h.schema_name = a.materialization_hypertable_schema and h.table_name = a.materialization_hypertable_name
            join _timescaledb_catalog.continuous_aggs_watermark w on w.mat_hypertable_id = h.id
            where a.view_schema = current_schema and a.view_name = aggregate
        $f$;
        -- A bucket is refreshed when it has ended a while ago: what is written into it later is hidden until the next refresh.
        perform add_continuous_aggregate_policy('runs_hourly', interval '30 days', interval '15 minutes', interval '15 minutes');
        perform add_continuous_aggregate_policy('runs_daily', interval '30 days', interval '15 minutes', interval '30 minutes');
        perform add_continuous_aggregate_policy('runs_weekly', interval '44 days', interval '15 minutes', interval '1 hour');
        perform add_continuous_aggregate_policy('availability_daily', interval '30 days', interval '15 minutes', interval '30 minutes');
        alter materialized view runs_hourly set (timescaledb.enable_columnstore = true, timescaledb.segmentby = 'org_id, monitor_id');
        call add_columnstore_policy('runs_hourly', after => interval '90 days');
    else
        create function tokiflow_rolled_to(aggregate text) returns timestamptz language sql stable as
            'select rolled_to from tokiflow_rollups where name = aggregate';
    end if;
end
$$;
-- +goose StatementEnd
drop function tokiflow_add_rollup;

-- +goose Down
-- +goose StatementBegin
do $$
begin
    if tokiflow_level() = 'community' then
        drop view availability_daily_stored, runs_weekly_stored, runs_daily_stored, runs_hourly_stored;
        drop materialized view availability_daily;
        drop materialized view runs_weekly;
        drop materialized view runs_daily;
        drop materialized view runs_hourly;
    else
        drop view availability_daily, runs_weekly, runs_daily, runs_hourly;
        drop table availability_daily_stored, runs_weekly_stored, runs_daily_stored, runs_hourly_stored;
        drop index runs_written_in_idx, transitions_written_in_idx;
    end if;
end
$$;
-- +goose StatementEnd
drop function tokiflow_rolled_to(text);
drop function tokiflow_roll_up(timestamptz);
drop table tokiflow_rollups;
drop function tokiflow_histogram_pack(bytea);
drop function tokiflow_histogram_entry(double precision);
