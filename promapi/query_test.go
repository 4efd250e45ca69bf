package promapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokiflow/tokiflow/core/metric"
	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/timeline"
)

// morning is two monitors of a morning: backup fails for a while, mail is deleted 10 minutes ago.
func morning() (backup, mail *life) {
	backup = born(1, "backup", ago("3h"))
	for i := range 16 { // one run every 10 minutes until 25 minutes ago
		at := ago("2h55m").Add(time.Duration(i) * 10 * time.Minute)
		backup.run(at, monitor.Succeeded, 2*time.Second)
	}
	backup.run(ago("20m"), monitor.Failed, 64*time.Second).turns(ago("20m"), monitor.Down)
	backup.run(ago("10m"), monitor.Succeeded, time.Second).turns(ago("10m"), monitor.Up)
	mail = born(2, "mail", ago("2h")).run(ago("1h"), monitor.Succeeded, -1).deleted(ago("10m"))
	return backup, mail
}

func TestQueries(t *testing.T) {
	backup, mail := morning()
	b := newBench(t, lives(backup, mail), nil)
	id := `id="` + backup.id() + `"`
	for _, c := range []struct{ expr, want string }{
		{`tokiflow_monitor_up`, `{__name__="tokiflow_monitor_up", ` + id + `} 1`},
		{`tokiflow_monitor_up offset 15m`, `{__name__="tokiflow_monitor_up", ` + id + `} 0` + "\n" +
			`{__name__="tokiflow_monitor_up", id="` + mail.id() + `"} 1`},
		{`count(tokiflow_monitor_status)`, `{} 5`},
		{`tokiflow_monitor_status == 1`, `{__name__="tokiflow_monitor_status", ` + id + `, status="up"} 1`},
		{`tokiflow_monitor_status{status="down"} offset 12m`, `{__name__="tokiflow_monitor_status", ` + id + `, status="down"} 1` + "\n" +
			`{__name__="tokiflow_monitor_status", id="` + mail.id() + `", status="down"} 0`},
		{`tokiflow_monitor_runs_total{outcome=~"success|fail"}`, `{__name__="tokiflow_monitor_runs_total", ` + id + `, outcome="fail"} 1` + "\n" +
			`{__name__="tokiflow_monitor_runs_total", ` + id + `, outcome="success"} 17`},
		{`increase(tokiflow_monitor_runs_total{outcome="success"}[1h])`, `{` + id + `, outcome="success"} 5.02092050209205` + "\n" +
			`{id="` + mail.id() + `", outcome="success"} 0`},
		{`changes(tokiflow_monitor_up[1h])`, `{` + id + `} 2` + "\n" + `{id="` + mail.id() + `"} 0`},
		{`avg_over_time(tokiflow_monitor_up[20m])`, `{` + id + `} 0.5125` + "\n" + `{id="` + mail.id() + `"} 1`},
		{`count_over_time(tokiflow_monitor_up[5m])`, `{` + id + `} 20`},
		{`min_over_time(tokiflow_monitor_up[30m:1m])`, `{` + id + `} 0` + "\n" + `{id="` + mail.id() + `"} 1`},
		{`histogram_quantile(0.5, tokiflow_monitor_run_duration_seconds_bucket)`, `{` + id + `} 1.5`},
		{`histogram_quantile(1, tokiflow_monitor_run_duration_seconds)`, `{` + id + `} 64`},
		{`histogram_count(tokiflow_monitor_run_duration_seconds)`, `{` + id + `} 18`},
		{`histogram_sum(tokiflow_monitor_run_duration_seconds)`, `{` + id + `} 97`},
		{`tokiflow_monitor_run_duration_seconds_bucket{le="+Inf"}`, `{__name__="tokiflow_monitor_run_duration_seconds_bucket", ` + id + `, le="+Inf"} 18`},
		{`tokiflow_monitor_run_duration_seconds_sum`, `{__name__="tokiflow_monitor_run_duration_seconds_sum", ` + id + `} 97`},
		{`tokiflow_monitor_up * on (id) group_left (monitor) tokiflow_monitor_info`, `{` + id + `, monitor="backup"} 1`},
		{`tokiflow_monitor_info{label_team="ops", tags=~".*,a,.*"}`, `{__name__="tokiflow_monitor_info", ` + id +
			`, label_team="ops", monitor="backup", project="main", schedule=" UTC", tags=",a,b,"} 1`},
		{`tokiflow_monitor_mttr_seconds`, `{__name__="tokiflow_monitor_mttr_seconds", ` + id + `} 600`},
		{`tokiflow_monitor_uptime_ratio`, `{__name__="tokiflow_monitor_uptime_ratio", ` + id + `} 0.9444444444444444`},
		{`absent(tokiflow_monitor_up{id="` + mail.id() + `"})`, `{id="` + mail.id() + `"} 1`},
		{`absent(tokiflow_monitor_due_timestamp_seconds)`, `{} 1`},
		{`time() - tokiflow_monitor_last_success_timestamp_seconds`, `{` + id + `} 600`},
		{`tokiflow_monitor_up{status=""}`, `{__name__="tokiflow_monitor_up", ` + id + `} 1`},
		{`tokiflow_monitor_up{status="up"}`, ``},
		{`tokiflow_monitor_up{job=~".+"}`, ``},
		{`{__name__=~"tokiflow_monitor_(up|open_runs)"}`, `{__name__="tokiflow_monitor_open_runs", ` + id + `} 0` + "\n" +
			`{__name__="tokiflow_monitor_up", ` + id + `} 1`},
		{`max_over_time(tokiflow_monitor_up{id=~"` + backup.id() + `|nonsense"}[5m] @ end())`, `{` + id + `} 1`},
		{`count({__name__=~"tokiflow_.+"})`, `{} 48`},
		{`1 + 1`, `{} 2`},
		{`"text"`, `error: the expression is a string: a vector or a scalar is wanted`},
		{`up[5m]`, `error: the expression is a matrix: a vector or a scalar is wanted`},
		{`rate(`, `error: 1:6: parse error: unclosed left parenthesis`},
	} {
		if d := cmp.Diff(c.want, b.vector(c.expr)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.expr, d)
		}
	}
}

func TestOnlyWhatCanMatchIsAskedFor(t *testing.T) {
	backup, mail := morning()
	for _, c := range []struct {
		expr     string
		families []string
		ids      int // -1: all
		asked    bool
	}{
		{`tokiflow_monitor_up`, []string{"tokiflow_monitor_up"}, -1, true},
		{`tokiflow_monitor_up{id="` + backup.id() + `"}`, []string{"tokiflow_monitor_up"}, 1, true},
		{`tokiflow_monitor_up{id=~"` + backup.id() + `|` + mail.id() + `"}`, []string{"tokiflow_monitor_up"}, 2, true},
		{`tokiflow_monitor_up{id=~"` + backup.id() + `|` + mail.id() + `", id!="x", id="` + mail.id() + `"}`, []string{"tokiflow_monitor_up"}, 1, true},
		{`tokiflow_monitor_up{id=~"aa.*"}`, []string{"tokiflow_monitor_up"}, -1, true},
		{`tokiflow_monitor_up{id="` + strings.ToUpper(backup.id()) + `"}`, nil, 0, false},
		{`tokiflow_monitor_up{id=""}`, nil, 0, false},
		{`tokiflow_monitor_up{outcome="success"}`, nil, 0, false},
		{`{outcome="success"}`, []string{"tokiflow_monitor_runs_total"}, -1, true},
		{`tokiflow_monitor_run_duration_seconds`, []string{metric.DurationName}, -1, true},
		{`tokiflow_monitor_run_duration_seconds_bucket`, []string{metric.DurationName}, -1, true},
		{`up`, nil, 0, false},
		{`{monitor="backup"}`, []string{metric.InfoName}, -1, true},
		{`{monitor="backup", status="up"}`, nil, 0, false},
	} {
		b := newBench(t, lives(backup, mail), nil)
		b.vector(c.expr)
		asked := b.history.queries()
		if (len(asked) == 1) != c.asked {
			t.Errorf("%s: asked %d times", c.expr, len(asked))
			continue
		}
		if !c.asked {
			continue
		}
		if d := cmp.Diff(c.families, asked[0].Families); d != "" {
			t.Errorf("%s: families (-want +got)\n%s", c.expr, d)
		}
		if got := len(asked[0].IDs); asked[0].IDs == nil && c.ids != -1 || asked[0].IDs != nil && got != c.ids {
			t.Errorf("%s: %d ids, want %d", c.expr, got, c.ids)
		}
	}
}

func TestTheWindowIsThatOfTheSelector(t *testing.T) {
	backup, _ := morning()
	b := newBench(t, lives(backup), nil)
	b.vector(`rate(tokiflow_monitor_runs_total[1h] offset 1h)`)
	want := timeline.Query{
		From: ago("2h"), To: ago("1h"), Step: 15 * time.Second, Families: []string{"tokiflow_monitor_runs_total"},
	}
	if d := cmp.Diff([]timeline.Query{want}, b.history.queries()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
