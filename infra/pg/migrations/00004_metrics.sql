-- What the exporter and PromQL need beside the rows there are: which states changed since a reading, what monitors were called
-- at any instant, and totals that only grow.

-- +goose Up

-- By which transaction: a reader asks for what was written since its last look (infra/store, MonitorStates). Not indexed, so
-- that what each ping changes stays HOT; the index on the organisation is of a column that never changes.
alter table monitor_states add column written_in bigint not null default pg_current_xact_id()::text::bigint;
create index monitor_states_org on monitor_states (org_id);
alter table gaps add column written_in bigint not null default pg_current_xact_id()::text::bigint;
-- Of each monitor those gaps are asked for that have ended since its status began.
create index gaps_ended on gaps (ended_at);

-- How many standard deviations the duration lay from the mean, 0 where there was no mean yet to hold it against. Null where it was
-- not held against any: the run has no duration or did not succeed. So a monitor's score at an instant is that of its last run that has one.
alter table runs add column z_score double precision;

-- What a monitor was called, and since when: a row for each configuration that took effect, and one for its deletion. Written
-- by the evaluator with the state. Of two in one instant the later stands.
create table monitor_versions (
    org_id     uuid not null,
    monitor_id uuid not null,
    at         timestamptz not null, -- on the log's clock: in force from then on, that instant included
    deleted    boolean not null,
    project    text not null,        -- the project's slug at that time; '': the monitor's row was gone already
    config     jsonb not null,       -- core/monitor.Config; of a deletion the last one in force
    written_in bigint not null default pg_current_xact_id()::text::bigint,
    primary key (org_id, monitor_id, at)
);
create index monitor_versions_written on monitor_versions (org_id, written_in);

-- What was before nobody wrote down: let the configuration in force have been so from the beginning.
insert into monitor_versions (org_id, monitor_id, at, deleted, project, config)
select s.org_id, s.monitor_id, coalesce(m.created_at, s.updated_at), false, coalesce(p.slug, ''), s.config
from monitor_states s
left join monitors m on m.id = s.monitor_id and m.org_id = s.org_id
left join projects p on p.id = m.project_id and p.org_id = m.org_id;

-- Who may read and write everything may do so with series too.
update api_keys
set scopes = scopes || array(select s from unnest(array['metrics', 'samples']) s where s <> all (scopes))
where scopes @> array['read', 'write'];

-- The bucket of a duration of more than 0 µs as core/monitor.BucketIndex has it: seconds in (2^((i−1)/8), 2^(i/8)].
create function tokiflow_duration_bucket(us bigint) returns integer
    language sql immutable strict parallel safe as $$
    select i + case when v <= power(2::float8, (i - 1) / 8.0::float8) then -1
                    when v > power(2::float8, i / 8.0::float8) then 1 -- the logarithm may be off by its last digit
                    else 0 end
    from (select v, ceil(ln(v) / ln(2::float8) * 8)::integer as i
          from (select (us / 1000000)::float8 + (us % 1000000 * 1000)::float8 / 1e9::float8 as v) as seconds) as guess
$$;

-- The totals (core/monitor.Totals) of what there was: from the rows that are kept.
with durations as (
    select org_id, monitor_id, jsonb_strip_nulls(jsonb_build_object(
               'n', sum(n), 'sum_us', sum(sum_us), 'zero', sum(n) filter (where i is null),
               'b', string_agg(i || ':' || n, ',' order by i) filter (where i is not null))) as histogram
    from (select org_id, monitor_id, case when us > 0 then tokiflow_duration_bucket(us) end as i, count(*) as n, sum(us) as sum_us
          from (select org_id, monitor_id, round(duration_seconds * 1e6)::bigint as us from runs where duration_seconds >= 0) as d
          group by 1, 2, 3) as buckets
    group by 1, 2
), ended as (
    select org_id, monitor_id, jsonb_strip_nulls(jsonb_build_object(
               'succeeded', nullif(count(*) filter (where outcome = 'success'), 0),
               'failed', nullif(count(*) filter (where outcome = 'fail'), 0),
               'missed', nullif(count(*) filter (where outcome = 'missed'), 0),
               'abandoned', nullif(count(*) filter (where outcome = 'abandoned'), 0),
               'unknown', nullif(count(*) filter (where outcome = 'unknown'), 0),
               'last_duration', nullif((array_agg(round(duration_seconds * 1e6)::bigint * 1000 order by finished_at desc, written_in desc)
                                        filter (where duration_seconds >= 0))[1], 0))) as totals
    from runs group by 1, 2
), changed as (
    select org_id, monitor_id, jsonb_strip_nulls(jsonb_build_object(
               'up_time', nullif(sum(round(seconds_in_previous * 1e6)::bigint * 1000) filter (where from_status in ('up', 'late')), 0),
               'down_time', nullif(sum(round(seconds_in_previous * 1e6)::bigint * 1000) filter (where from_status = 'down'), 0),
               'outages', nullif(count(*) filter (where to_status = 'down' and from_status <> 'down'), 0),
               'recoveries', nullif(count(*) filter (where from_status = 'down' and to_status <> 'down'), 0))) as totals
    from transitions group by 1, 2
)
update monitor_states s
set state = s.state || jsonb_build_object('totals',
        coalesce(e.totals, '{}') || coalesce(c.totals, '{}')
        || case when d.histogram is null then '{}' else jsonb_build_object('durations', d.histogram) end)
from monitor_states k
left join ended e on e.monitor_id = k.monitor_id and e.org_id = k.org_id
left join changed c on c.monitor_id = k.monitor_id and c.org_id = k.org_id
left join durations d on d.monitor_id = k.monitor_id and d.org_id = k.org_id
where k.monitor_id = s.monitor_id and k.org_id = s.org_id and (e.totals is not null or c.totals is not null);
drop function tokiflow_duration_bucket(bigint);

-- +goose Down
update monitor_states set state = state - 'totals';
drop table monitor_versions;
alter table runs drop column z_score;
drop index monitor_states_org;
alter table monitor_states drop column written_in;
drop index gaps_ended;
alter table gaps drop column written_in;
