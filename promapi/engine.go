package promapi

import "github.com/prometheus/prometheus/promql"

// Engine is the engine with the limits of the API, for those who ask storages of their own.
func (a *API) Engine() promql.QueryEngine { return a.engine }
