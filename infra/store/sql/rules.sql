-- name: CountRuleGroups :one
select count(*) from rule_groups where org_id = @org_id;

-- name: InsertRuleGroup :execrows
insert into rule_groups (org_id, name, definition, next_eval_at) values (@org_id, @name, @definition, @next_eval_at)
on conflict (org_id, name) do nothing;

-- name: LockRuleGroup :one
select definition, deleted, next_eval_at from rule_groups where org_id = @org_id and name = @name for update;

-- name: ReplaceRuleGroup :exec
update rule_groups set definition = @definition, revision = revision + 1, deleted = false, updated_at = now(),
    next_eval_at = @next_eval_at, claimed_until = null
where org_id = @org_id and name = @name;

-- name: DeleteRuleGroup :execrows
-- The evaluator takes the row away when all of it has ended.
update rule_groups set deleted = true, revision = revision + 1, updated_at = now(), claimed_until = null
where org_id = @org_id and name = @name and not deleted;

-- name: RuleDefinitions :many
select definition from rule_groups where org_id = @org_id and not deleted order by name;

-- name: RuleDefinition :one
select definition from rule_groups where org_id = @org_id and name = @name and not deleted;

-- name: RuleGroups :many
select definition, progress, evaluated_at, took_seconds from rule_groups where org_id = @org_id and not deleted order by name;

-- name: ClaimRuleGroups :many
-- Organisations take turns: whoever has many groups due or under way comes behind those with few, else it would hold them all up.
-- @sqlc-vet-disable tenant
with busy as (
    select b.org_id, count(*) as under_way from rule_groups b where b.claimed_until > now() group by b.org_id
), waiting as materialized (
    select w.org_id, w.name, w.next_eval_at,
        row_number() over (partition by w.org_id order by w.next_eval_at) + coalesce(busy.under_way, 0) as turn
    from rule_groups w left join busy on busy.org_id = w.org_id
    where w.next_eval_at <= @horizon and (w.claimed_until is null or w.claimed_until <= now())
), due as (
    select d.org_id, d.name from rule_groups d join waiting on waiting.org_id = d.org_id and waiting.name = d.name
    where d.next_eval_at <= @horizon and (d.claimed_until is null or d.claimed_until <= now())
    order by waiting.turn, waiting.next_eval_at
    limit @max_rows
    for update of d skip locked
)
update rule_groups g set claimed_until = now() + make_interval(secs => @lease_seconds::double precision)
from due
where g.org_id = due.org_id and g.name = due.name
returning g.org_id, g.definition, g.revision, g.deleted, g.next_eval_at, g.evaluations, g.progress, g.series;

-- name: ReleaseRuleGroup :exec
update rule_groups set claimed_until = now() + make_interval(secs => @after_seconds::double precision)
where org_id = @org_id and name = @name and revision = @revision and evaluations = @evaluations;

-- name: CommitRuleGroup :execrows
update rule_groups set evaluations = evaluations + 1, evaluated_at = @evaluated_at, took_seconds = @took_seconds,
    missed = missed + @missed, next_eval_at = @next_eval_at, claimed_until = null, progress = @progress,
    series = coalesce(sqlc.narg('series')::bytea, series)
where org_id = @org_id and name = @name and revision = @revision and evaluations = @evaluations;

-- name: RemoveRuleGroup :execrows
delete from rule_groups
where org_id = @org_id and name = @name and revision = @revision and evaluations = @evaluations and deleted;
