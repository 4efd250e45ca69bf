package timeline

// Needs says what the points of some families are made of.
type Needs struct {
	Labels      bool // of the info
	Down        bool // whether the status is down
	Status      bool // which it is; includes Down
	Times       bool // the time up and down, with the gaps; includes Status
	LastPing    bool
	LastSuccess bool
	LastRun     bool // its duration and score, and whether there was one
	Expectation bool // due and deadline
	Counts      bool // of runs by outcome
	Histogram   bool // of their durations; includes Counts
	OpenRuns    bool
	Incidents   bool
}

// NeedsOf is what the families of those names need, nil being all. A name that is none needs nothing.
func NeedsOf(families []string) Needs {
	if families == nil {
		return Needs{
			Labels: true, Down: true, Status: true, Times: true, LastPing: true, LastSuccess: true, LastRun: true,
			Expectation: true, Counts: true, Histogram: true, OpenRuns: true, Incidents: true,
		}
	}
	var n Needs
	for _, f := range families {
		n.add(f)
	}
	return n
}

func (n *Needs) add(family string) {
	switch family {
	case "tokiflow_monitor_info":
		n.Labels = true
	case "tokiflow_monitor_up":
		n.Down = true
	case "tokiflow_monitor_status":
		n.Down, n.Status = true, true
	case "tokiflow_monitor_last_ping_timestamp_seconds":
		n.LastPing = true
	case "tokiflow_monitor_last_success_timestamp_seconds":
		n.LastSuccess = true
	case "tokiflow_monitor_last_run_duration_seconds", "tokiflow_monitor_anomaly_z_score":
		n.LastRun = true
	case "tokiflow_monitor_due_timestamp_seconds", "tokiflow_monitor_deadline_timestamp_seconds":
		n.Expectation = true
	case "tokiflow_monitor_runs_total":
		n.Counts = true
	case "tokiflow_monitor_run_duration_seconds":
		n.Counts, n.Histogram = true, true
	case "tokiflow_monitor_open_runs":
		n.OpenRuns = true
	case "tokiflow_monitor_incidents_open":
		n.Incidents = true
	case "tokiflow_monitor_mtbf_seconds", "tokiflow_monitor_mttr_seconds", "tokiflow_monitor_uptime_ratio":
		n.Down, n.Status, n.Times = true, true, true
	}
}

// Configs reports whether versions are needed with their configurations.
func (n Needs) Configs() bool { return n.Labels || n.Expectation }

// Runs reports whether the runs of the window are needed.
func (n Needs) Runs() bool {
	return n.Counts || n.LastRun || n.LastSuccess || n.Begun()
}

// Begun reports whether runs are needed from their beginning on: those that ended behind the window too.
func (n Needs) Begun() bool { return n.LastPing || n.OpenRuns || n.Expectation }

// Totals reports whether the points have totals.
func (n Needs) Totals() bool { return n.Counts || n.LastRun || n.Times }
