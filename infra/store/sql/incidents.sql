-- name: Incident :one
select id, monitor_id, monitor_name, kind, status, severity, opened_at, acknowledged_at, acknowledged_by, resolved_at,
    resolution, evidence
from incidents
where org_id = @org_id and id = @id;

-- name: Incidents :many
-- The youngest first.
select id, monitor_id, monitor_name, kind, status, severity, opened_at, acknowledged_at, acknowledged_by, resolved_at,
    resolution, evidence
from incidents
where org_id = @org_id
  and (opened_at, id) < (@before_at::timestamptz, @before_id::uuid)
  and opened_at >= @from_at::timestamptz
  and opened_at < @to_at::timestamptz
  and (sqlc.narg('monitor_id')::uuid is null or monitor_id = sqlc.narg('monitor_id'))
  and (cardinality(@statuses::text[]) = 0 or status = any (@statuses::text[]))
  and (cardinality(@kinds::text[]) = 0 or kind = any (@kinds::text[]))
order by opened_at desc, id desc
limit @max_rows;

-- name: AcknowledgeIncident :execrows
update incidents set status = 'acknowledged', acknowledged_at = now(), acknowledged_by = @acknowledged_by
where org_id = @org_id and id = @id and status = 'open';
