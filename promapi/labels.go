package promapi

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// labels answers which label names there are.
func (a *API) labels(ctx context.Context, r *request) (*answer, error) {
	return a.list(ctx, r, func(q storage.Querier, h *storage.LabelHints, m []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelNames(ctx, h, m...)
	})
}

// labelValues answers which values a label has.
func (a *API) labelValues(ctx context.Context, r *request) (*answer, error) {
	name := chi.URLParam(r.Request, "name")
	if r.URL.RawPath != "" { // chi then cuts the path as it was sent
		if n, err := url.PathUnescape(name); err == nil {
			name = n
		}
	}
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return nil, badData(fmt.Errorf("invalid label name: %q", name))
	}
	return a.list(ctx, r, func(q storage.Querier, h *storage.LabelHints, m []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return q.LabelValues(ctx, name, h, m...)
	})
}

// list answers the union of what each selector finds.
func (a *API) list(ctx context.Context, r *request, find func(storage.Querier, *storage.LabelHints, []*labels.Matcher) ([]string, annotations.Annotations, error)) (*answer, error) {
	limit, err := limitOf(r.form)
	if err != nil {
		return nil, err
	}
	q, err := a.querierOf(ctx, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = q.Close() }() // reading only
	sets, err := a.matchersOf(r.form)
	if err != nil {
		return nil, err
	}
	if len(sets) == 0 {
		sets = [][]*labels.Matcher{nil}
	}
	all := []string{}
	var warnings annotations.Annotations
	for _, set := range sets {
		found, w, err := find(q, &storage.LabelHints{Limit: hintOf(limit)}, set)
		if err != nil {
			return nil, err
		}
		warnings = warnings.Merge(w)
		all = append(all, found...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if limit > 0 && len(all) > limit {
		all, warnings = all[:limit], truncated(warnings)
	}
	return &answer{warnings: warnings, data: func(j *jsonWriter) { j.strings(all) }}, nil
}

// querierOf reads the organisation's series in the window that the request says.
func (a *API) querierOf(ctx context.Context, r *request) (storage.Querier, error) {
	from, to, err := a.windowOf(r.form)
	if err != nil {
		return nil, err
	}
	return a.queryable(ctx, r.org).Querier(from.UnixMilli(), to.UnixMilli())
}

// series answers which series there are.
func (a *API) series(ctx context.Context, r *request) (*answer, error) {
	if len(r.form["match[]"]) == 0 {
		return nil, badData(fmt.Errorf("no match[] parameter provided"))
	}
	limit, err := limitOf(r.form)
	if err != nil {
		return nil, err
	}
	matchers, err := a.matchersOf(r.form)
	if err != nil {
		return nil, badParameter("match[]", err)
	}
	from, to, err := a.windowOf(r.form)
	if err != nil {
		return nil, err
	}
	q, err := a.queryable(ctx, r.org).Querier(from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer func() { _ = q.Close() }() // reading only
	hints := &storage.SelectHints{Start: from.UnixMilli(), End: to.UnixMilli(), Func: "series", Limit: hintOf(limit)}
	sets := make([]storage.SeriesSet, len(matchers))
	for i, m := range matchers {
		sets[i] = q.Select(ctx, true, hints, m...)
	}
	set := sets[0]
	if len(sets) > 1 {
		set = storage.NewMergeSeriesSet(sets, 0, storage.ChainedSeriesMerge)
	}
	found := []labels.Labels{}
	warnings := annotations.Annotations{}
	for set.Next() {
		if found = append(found, set.At().Labels()); limit > 0 && len(found) > limit {
			found, warnings = found[:limit], truncated(warnings)
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	if err := set.Err(); err != nil {
		return nil, err
	}
	return &answer{warnings: warnings.Merge(set.Warnings()), data: func(j *jsonWriter) { j.labelSets(found) }}, nil
}
