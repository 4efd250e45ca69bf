package evaluator

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/monitor"
)

const (
	statusCount = 5
	kindCount   = 5
)

func statuses() [statusCount]monitor.Status {
	return [...]monitor.Status{monitor.New, monitor.Up, monitor.Late, monitor.Down, monitor.Paused}
}

func kinds() [kindCount]incident.Kind {
	return [...]incident.Kind{incident.Missed, incident.Late, incident.Fail, incident.Overrun, incident.Anomaly}
}

// census counts the monitors of a partition and their open incidents. It is kept up with each step, so nobody ever has to go
// through all monitors, and no query through all rows.
type census struct {
	monitors [statusCount]int64
	open     [kindCount]int64
}

// count takes a state in (by 1) or out (by −1). A state without a status is that of a monitor which is not there yet.
func (c *census) count(s *monitor.State, by int64) {
	for i, status := range statuses() {
		if s.Status == status {
			c.monitors[i] += by
		}
	}
	if len(s.Incidents) == 0 {
		return
	}
	for i, kind := range kinds() {
		if _, ok := s.Incidents[kind]; ok {
			c.open[i] += by
		}
	}
}

// show lets the figures have the partition's count as of now.
func (o *owned) show() {
	c := o.census
	o.shown.Store(&c)
	o.observe()
}

func (o *owned) observe() {
	if at := o.clock.Judged(); !at.IsZero() {
		o.judged.Store(at.UnixMicro())
	}
}

// holdings exports what the partitions of this process hold. The sum over processes is the installation's.
type holdings struct {
	e                           *Evaluator
	monitors, open, judged, lag *prometheus.Desc
}

func newHoldings(e *Evaluator) *holdings {
	return &holdings{
		e: e,
		monitors: prometheus.NewDesc("tokiflow_evaluator_monitors",
			"Monitors in the partitions this process judges, by status. The sum over processes is the installation's.", []string{"status"}, nil),
		open: prometheus.NewDesc("tokiflow_evaluator_incidents_open",
			"Open incidents in the partitions this process judges, acknowledged ones too. The sum over processes is the installation's.", []string{"kind"}, nil),
		judged: prometheus.NewDesc("tokiflow_evaluator_judged_timestamp_seconds",
			"Time up to which deadlines of a partition have been judged: its watermark.", []string{"partition"}, nil),
		lag: prometheus.NewDesc("tokiflow_evaluator_watermark_lag_seconds",
			"How far a partition's watermark is behind now. By so much alarms are late, and never wrong.", []string{"partition"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (h *holdings) Describe(to chan<- *prometheus.Desc) {
	to <- h.monitors
	to <- h.open
	to <- h.judged
	to <- h.lag
}

// Collect implements prometheus.Collector.
func (h *holdings) Collect(to chan<- prometheus.Metric) {
	var sum census
	now := h.e.o.Clock()
	h.e.mu.Lock()
	defer h.e.mu.Unlock()
	for n, p := range h.e.partitions {
		c := p.shown.Load()
		for i := range sum.monitors {
			sum.monitors[i] += c.monitors[i]
		}
		for i := range sum.open {
			sum.open[i] += c.open[i]
		}
		if micros := p.judged.Load(); micros != 0 {
			partition := strconv.Itoa(n)
			to <- prometheus.MustNewConstMetric(h.judged, prometheus.GaugeValue, float64(micros)/1e6, partition)
			lag := max(0, now.Sub(time.UnixMicro(micros)))
			to <- prometheus.MustNewConstMetric(h.lag, prometheus.GaugeValue, lag.Seconds(), partition)
		}
	}
	for i, status := range statuses() {
		to <- prometheus.MustNewConstMetric(h.monitors, prometheus.GaugeValue, float64(sum.monitors[i]), string(status))
	}
	for i, kind := range kinds() {
		to <- prometheus.MustNewConstMetric(h.open, prometheus.GaugeValue, float64(sum.open[i]), string(kind))
	}
}
