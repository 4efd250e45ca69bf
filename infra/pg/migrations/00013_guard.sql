-- +goose Up
-- What each process accepted of pings in each minute, of all organisations together: a row also where it was none, as the process's
-- word that it was there to take them. They are added up after the minute, and then go.
create table guard_counts (
    at      timestamptz not null,            -- beginning of the minute
    process uuid not null,                   -- made anew at each start of it
    pings   bigint not null,
    primary key (at, process)
);

-- What the whole installation accepted in each minute that was judged: what later minutes are compared with.
create table guard_minutes (
    at        timestamptz primary key,
    pings     bigint not null,
    processes integer not null,              -- that were there to take pings
    believed  boolean not null               -- false: there was a fall, so it is compared with nothing
);

-- Where the guard stands. One row, made by the first who steps it.
create table guard_state (
    only_row    boolean primary key default true check (only_row),
    phase       text not null,               -- normal, suspicious, incident, recovering; '': no minute was judged yet
    minute      timestamptz not null,        -- the last one judged
    pings       bigint not null,
    processes   integer not null,
    expected    double precision not null,
    since       timestamptz,                 -- of the fall, or of the last one
    detected_at timestamptz,
    ended_at    timestamptz,                 -- of the last fall; null while it lasts
    judged_at   timestamptz,                 -- the last minute that could be judged: its end
    streak      integer not null,
    level       double precision not null,
    seen        double precision not null
);

-- +goose Down
drop table guard_state, guard_minutes, guard_counts;
