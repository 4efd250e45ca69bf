-- +goose Up
-- Groups of rules, with how far each has come: every evaluation is one update of its row. A deleted group is evaluated once more, so
-- that its alerts and series end, and then goes.
create table rule_groups (
    org_id        uuid not null references organisations (id) on delete cascade,
    name          text not null,
    definition    jsonb not null,                   -- core/rule.Group
    revision      bigint not null default 1,        -- of the definition; with evaluations the fence of an evaluation
    deleted       boolean not null default false,
    updated_at    timestamptz not null default now(),
    next_eval_at  timestamptz not null,             -- the instant to evaluate it for next, when the watermark has passed it
    claimed_until timestamptz,
    evaluations   bigint not null default 0,
    evaluated_at  timestamptz,                      -- the instant of the last evaluation
    took_seconds  double precision not null default 0,
    missed        bigint not null default 0,        -- instants left out
    progress      jsonb not null default '[]',      -- of core/rule.Progress, in order
    series        bytea,                            -- JSON: what each recording rule gave last; seldom rewritten
    primary key (org_id, name)
);
create index rule_groups_due on rule_groups (next_eval_at);

-- +goose Down
drop table rule_groups;
