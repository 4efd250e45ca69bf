package tokiflow_test

import (
	"fmt"
	"os"
	"path"
	"strings"
	"testing"
)

// place is one row of the table: which packages it covers, and what of this module they may import. A pattern is a
// folder; with /... it covers the folder and everything below.
type place struct {
	pattern string
	may     []string
	pure    bool // no I/O, no clock, no logger
	command bool // may read the environment and exit
	process bool // may hold package variables: something there is once per test process
}

// places is the table of docs/architecture.md. The first row that matches a package counts. A package without a row
// fails the test: a new one is placed here, in the same commit.
func places() []place {
	core := []string{"core/..."}
	flow := []string{"core/...", "saas/..."}
	return []place{
		{pattern: "."},
		{pattern: "cmd/tokiflow", may: []string{"app", "client/...", "loadgen/...", "rules/...", "alerting/config", "core/..."}, command: true},
		{pattern: "app/...", may: []string{
			"ingest/...", "evaluator/...", "alerting/...", "exporter/...", "promapi/...", "rules/...", "forward/...", "api/...", "web/...",
			"tsdb/...", "infra/...", "saas/...", "core/...",
		}},
		{pattern: "ingest/...", may: flow},
		{pattern: "evaluator/...", may: flow},
		{pattern: "alerting/...", may: flow},
		{pattern: "exporter/...", may: flow},
		{pattern: "promapi/...", may: flow},
		{pattern: "rules/...", may: flow},
		{pattern: "forward/...", may: flow},
		{pattern: "api/...", may: flow},
		{pattern: "web/...", may: flow},
		{pattern: "client/...", may: core},
		{pattern: "loadgen/...", may: []string{"client/...", "core/..."}},
		{pattern: "saas/account", may: core},
		{pattern: "saas/auth", may: core},
		{pattern: "saas/billing", may: core},
		{pattern: "saas/audit", may: core},
		{pattern: "tsdb/...", may: []string{"core/...", "saas/...", "infra/pg"}},
		{pattern: "infra/pg/pgtest", may: []string{"core/...", "infra/pg/..."}, command: true, process: true},
		{pattern: "infra/pg/...", may: flow},
		{pattern: "infra/store/...", may: []string{"core/...", "saas/...", "infra/pg"}},
		{pattern: "infra/eventlog/...", may: flow},
		{pattern: "infra/safehttp", may: flow},
		{pattern: "infra/seal", may: flow},
		{pattern: "infra/blob/...", may: flow},
		{pattern: "infra/mail/...", may: flow},
		{pattern: "core/tenant", pure: true},
		{pattern: "core/fault", pure: true},
		{pattern: "core/inventory", may: core, pure: true},
		{pattern: "core/history", may: core, pure: true},
		{pattern: "core/schedule", pure: true},
		{pattern: "core/baseline", pure: true},
		{pattern: "core/monitor", may: core, pure: true},
		{pattern: "core/incident", may: core, pure: true},
		{pattern: "core/alert", may: core, pure: true},
		{pattern: "core/guarded", pure: true},
		{pattern: "core/guard", may: core, pure: true},
		{pattern: "core/quiet", may: core, pure: true},
		{pattern: "core/mail", pure: true},
		{pattern: "core/recipient", may: core, pure: true},
		{pattern: "core/record", may: []string{"core/tenant", "core/series"}, pure: true},
		{pattern: "core/checkpoint", may: core, pure: true},
		{pattern: "core/series", may: []string{"core/tenant"}, pure: true},
		{pattern: "core/forward", may: core, pure: true},
		{pattern: "core/metric", may: core, pure: true},
		{pattern: "core/timeline", may: core, pure: true},
		{pattern: "core/rule", may: core, pure: true},
		{pattern: "core/logclock", may: []string{"core/tenant", "core/record"}, pure: true},
		{pattern: "test/services", command: true, process: true},
		{pattern: "test/...", may: []string{"..."}, command: true},
	}
}

// owners says where a module of others may be imported (in code that is not a test). The longest prefix that matches
// counts; a module without a row fails the test.
func owners() map[string][]string {
	everywhere := []string{"..."}
	aboveCore := []string{
		"cmd/...", "app/...", "ingest/...", "evaluator/...", "alerting/...", "exporter/...", "promapi/...", "rules/...", "forward/...", "api/...", "web/...",
		"client/...", "loadgen/...", "saas/...", "tsdb/...", "infra/...", "test/...",
	}
	sql := []string{"infra/pg/...", "infra/store/...", "tsdb/...", "test/..."}
	http := []string{"app/...", "alerting/...", "ingest/...", "exporter/...", "promapi/...", "api/...", "web/...", "loadgen/...", "test/..."}
	return map[string][]string{
		"code.dny.dev/ssrf":                                        {"infra/safehttp"},
		"github.com/alecthomas/kong":                               {"cmd/tokiflow"},
		"github.com/cenkalti/backoff/v5":                           aboveCore,
		"github.com/danielgtaylor/huma/v2":                         {"api/..."},
		"github.com/emersion/go-sasl":                              {"infra/mail/mailtest"},
		"github.com/emersion/go-smtp":                              {"infra/mail/mailtest"},
		"github.com/fergusstrange/embedded-postgres":               {"infra/pg/..."},
		"github.com/go-chi/chi/v5":                                 http,
		"github.com/klauspost/compress/snappy":                     {"promapi/...", "forward/...", "ingest/...", "test/..."},
		"github.com/google/go-cmp":                                 {"infra/eventlog/logtest", "test/..."},
		"github.com/go-openapi/strfmt":                             {"alerting/..."},
		"github.com/google/uuid":                                   everywhere,
		"github.com/hashicorp/raft":                                {"infra/eventlog/..."},
		"github.com/hashicorp/raft-wal":                            {"infra/eventlog/..."},
		"github.com/jackc/pgx/v5":                                  sql,
		"github.com/klauspost/compress":                            aboveCore,
		"github.com/klauspost/compress/s2":                         everywhere,
		"github.com/pressly/goose/v3":                              {"infra/pg/..."},
		"github.com/prometheus/alertmanager":                       {"alerting/..."},
		"github.com/prometheus/client_golang":                      aboveCore,
		"github.com/prometheus/client_model":                       aboveCore,
		"github.com/prometheus/common":                             aboveCore,
		"github.com/prometheus/common/model":                       everywhere,
		"github.com/prometheus/prometheus":                         {"promapi/...", "tsdb/samples", "ingest/remotewrite", "ingest/pushgateway", "rules/...", "forward/...", "test/..."},
		"github.com/segmentio/kafka-go":                            {"infra/eventlog/..."},
		"github.com/slack-go/slack":                                {"alerting/slack"},
		"github.com/standard-webhooks/standard-webhooks/libraries": {"alerting/...", "loadgen/...", "test/..."},
		"github.com/stripe/stripe-go":                              {"saas/billing"},
		"github.com/tidwall/wal":                                   {"infra/eventlog/..."},
		"github.com/twmb/franz-go":                                 {"infra/eventlog/..."},
		"github.com/wneessen/go-mail":                              {"alerting/mail", "infra/mail"},
		"google.golang.org/protobuf":                               {"alerting/...", "ingest/...", "promapi/...", "forward/..."},
		"gopkg.in/telebot.v3":                                      {"alerting/receivers"}, // its errors, of Alertmanager's own Telegram
		"gopkg.in/yaml.v2":                                         {"alerting/config"},
		"go.yaml.in/yaml/v3":                                       {"rules/...", "cmd/tokiflow", "alerting/...", "test/..."},
		"golang.org/x":                                             aboveCore,
	}
}

// folders is the map that README.md, doc.go and docs/architecture.md tell, word for word.
func folders() [][2]string {
	return [][2]string{
		{"cmd", "the program: flags, environment, signals, subcommands"},
		{"app", "wiring of one process from its options; roles; shutdown"},
		{"ingest", "the ping endpoints: from HTTP to a durable record"},
		{"evaluator", "reads the log, judges monitors, opens and resolves incidents"},
		{"alerting", "carries each incident from the outbox to its receivers"},
		{"exporter", "an organisation's monitors for Prometheus to scrape"},
		{"promapi", "PromQL over the whole history, and remote read"},
		{"rules", "recording and alerting rules, evaluated on the log's clock"},
		{"forward", "sends the monitors' series on to other systems"},
		{"api", "the REST API and its OpenAPI document"},
		{"saas", "who a request acts for: API keys and their scopes"},
		{"tsdb", "time-series SQL: pings, statistics, timelines, samples"},
		{"core", "pure rules and nouns: no I/O, no clock, no logger"},
		{"infra", "PostgreSQL, relational SQL, the log on disk or on Kafka"},
		{"client", "a small ping client that retries, used by ping, exec and bench"},
		{"loadgen", "the load generator behind bench"},
		{"grafana-plugin", "(to come) the Grafana app with its data source"},
		{"dashboards", "dashboards for Grafana"},
		{"deploy", "how to install it: systemd"},
		{"docs", "the pages for users, the architecture, the decisions"},
		{"test", "services for the tests, tests of the whole program"},
		{"tools", "the tools of the build, in a module of their own"},
	}
}

// matches reports whether the folder is covered by the pattern.
func matches(pattern, folder string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == base || strings.HasPrefix(folder, base+"/")
	}
	return folder == pattern
}

func matchesAny(patterns []string, folder string) bool {
	for _, p := range patterns {
		if matches(p, folder) {
			return true
		}
	}
	return false
}

// placeOf returns the first row that covers the folder.
func placeOf(folder string) (place, bool) {
	for _, p := range places() {
		if matches(p.pattern, folder) {
			return p, true
		}
	}
	return place{}, false
}

// ownerOf returns where the imported path may be used. known is false where no row covers it.
func ownerOf(imported string) (patterns []string, known bool) {
	longest := -1
	for prefix, where := range owners() {
		if (imported == prefix || strings.HasPrefix(imported, prefix+"/")) && len(prefix) > longest {
			longest, patterns, known = len(prefix), where, true
		}
	}
	return patterns, known
}

func TestEveryPackageHasAPlace(t *testing.T) {
	for _, p := range scan(t) {
		if _, ok := placeOf(p.folder); !ok {
			t.Errorf("%s has no row in places(): say what it may import", p.folder)
		}
	}
}

func TestImportsPointDownwards(t *testing.T) {
	for _, p := range scan(t) {
		row, _ := placeOf(p.folder)
		for _, f := range p.sources() {
			for _, imp := range f.imports {
				ours, ok := strings.CutPrefix(imp, module+"/")
				if !ok || sameHouse(row, ours) || matchesAny(row.may, ours) {
					continue
				}
				t.Errorf("%s: %s may not import %s", f.name, p.folder, ours)
			}
		}
	}
}

// sameHouse reports whether the imported folder lies under the row's own pattern: a flow may be split into packages.
func sameHouse(row place, imported string) bool {
	return strings.HasSuffix(row.pattern, "/...") && row.pattern != "..." && matches(row.pattern, imported)
}

func TestModulesOfOthersStayWithTheirOwners(t *testing.T) {
	for _, p := range scan(t) {
		for _, f := range p.sources() {
			for _, imp := range f.imports {
				if !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") || imp == module || strings.HasPrefix(imp, module+"/") {
					continue // the standard library, or ours
				}
				where, known := ownerOf(imp)
				switch {
				case !known:
					t.Errorf("%s imports %s, which has no row in owners(): say where it may be used", f.name, imp)
				case !matchesAny(where, p.folder):
					t.Errorf("%s: %s may be imported by %s only", f.name, imp, strings.Join(where, ", "))
				}
			}
		}
	}
}

func TestTheSameMapIsToldEverywhere(t *testing.T) {
	var text, comment strings.Builder
	for _, f := range folders() {
		line := fmt.Sprintf("%-14s %s\n", f[0], f[1])
		text.WriteString(line)
		comment.WriteString("//\t" + line)
	}
	for file, want := range map[string]string{
		"doc.go": comment.String(), "README.md": text.String(), path.Join("docs", "architecture.md"): text.String(),
	} {
		got, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(got), want) {
			t.Errorf("%s does not tell this map:\n%s", file, want)
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "data" && e.Name() != "bin" && !told(e.Name()) {
			t.Errorf("the folder %s is missing from the map", e.Name())
		}
	}
	for _, f := range folders() {
		if _, err := os.Stat(f[0]); err != nil {
			t.Errorf("the map tells of a folder that is not there: %v", err)
		}
	}
}

func told(folder string) bool {
	for _, f := range folders() {
		if f[0] == folder {
			return true
		}
	}
	return false
}
