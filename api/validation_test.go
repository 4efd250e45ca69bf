package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestFaultsAreNamedByTheirPlace(t *testing.T) {
	s := newBundle(t)
	long := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int, format string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = fmt.Sprintf(format, i)
		}
		return strings.Join(parts, ",")
	}
	const ok = `"name":"n","schedule":{"interval":"1h"}`
	for body, location := range map[string]string{
		`{` + ok + `,"nmae":"x"}`:                                                "body.nmae",
		`{` + ok + `,"Grace":"1m"}`:                                              "body.Grace",
		`{` + ok + `,"id":"x"}`:                                                  "body.id",
		`{` + ok + `,"anomaly":{"zscore":2}}`:                                    "body.anomaly.zscore",
		`{` + ok + `,"anomaly":{"Enabled":true}}`:                                "body.anomaly.Enabled",
		`{"name":"n","schedule":{"intervall":"1h"}}`:                             "body.schedule.intervall",
		`{"name":"n","schedule":{}}`:                                             "body.schedule",
		`{"name":"n"}`:                                                           "body",
		`{"name":"n","schedule":null}`:                                           "body.schedule",
		`{"name":null,"schedule":{"interval":"1h"}}`:                             "body.name",
		`{"name":"","schedule":{"interval":"1h"}}`:                               "body.name",
		`{"name":"` + long(201) + `","schedule":{"interval":"1h"}}`:              "body.name",
		`{"name":"a\u0000b","schedule":{"interval":"1h"}}`:                       "body.name",
		`{"name":7,"schedule":{"interval":"1h"}}`:                                "body.name",
		`{"name":"n","schedule":{"interval":"1h","cron":"* * * * *"}}`:           "body.schedule",
		`{"name":"n","schedule":{"interval":"999ms"}}`:                           "body.schedule.interval",
		`{"name":"n","schedule":{"interval":"0s"}}`:                              "body.schedule",
		`{"name":"n","schedule":{"interval":"1001d"}}`:                           "body.schedule.interval",
		`{"name":"n","schedule":{"interval":"9999999999y"}}`:                     "body.schedule.interval",
		`{"name":"n","schedule":{"interval":"1 h"}}`:                             "body.schedule.interval",
		`{"name":"n","schedule":{"interval":""}}`:                                "body.schedule.interval",
		`{"name":"n","schedule":{"interval":3600}}`:                              "body.schedule.interval",
		`{"name":"n","schedule":{"cron":"99 * * * *"}}`:                          "body.schedule.cron",
		`{"name":"n","schedule":{"cron":"* * * * *","timezone":"Mars/Olympus"}}`: "body.schedule.timezone",
		`{` + ok + `,"grace":"-5m"}`:                                             "body.grace",
		`{` + ok + `,"grace":"1001d"}`:                                           "body.grace",
		`{` + ok + `,"early":"x"}`:                                               "body.early",
		`{` + ok + `,"max_runtime":"1.5h"}`:                                      "body.max_runtime",
		`{` + ok + `,"slug":"Upper"}`:                                            "body.slug",
		`{` + ok + `,"slug":"` + long(101) + `"}`:                                "body.slug",
		`{` + ok + `,"failure_tolerance":-1}`:                                    "body.failure_tolerance",
		`{` + ok + `,"failure_tolerance":1.5}`:                                   "body.failure_tolerance",
		`{` + ok + `,"failure_tolerance":1e300}`:                                 "body.failure_tolerance",
		`{` + ok + `,"manual_resume":"yes"}`:                                     "body.manual_resume",
		`{` + ok + `,"tags":"x"}`:                                                "body.tags",
		`{` + ok + `,"tags":[""]}`:                                               "body.tags",
		`{` + ok + `,"tags":["a\nb"]}`:                                           "body.tags[0]",
		`{` + ok + `,"tags":[1]}`:                                                "body.tags[0]",
		`{` + ok + `,"tags":[` + many(51, `"t%d"`) + `]}`:                        "body.tags",
		`{` + ok + `,"labels":{"a b":"x"}}`:                                      "body.labels",
		`{` + ok + `,"labels":{"monitor":"x"}}`:                                  "body.labels",
		`{` + ok + `,"labels":{"a":1}}`:                                          "body.labels.a",
		`{` + ok + `,"labels":{"a":"\u0000"}}`:                                   "body.labels.a",
		`{` + ok + `,"labels":{` + many(51, `"l%d":"x"`) + `}}`:                  "body.labels",
		`{` + ok + `,"anomaly":{"z_score":0}}`:                                   "body.anomaly.z_score",
		`{` + ok + `,"anomaly":{"min_runs":1}}`:                                  "body.anomaly.min_runs",
		`{` + ok + `,"anomaly":{"min_deviation":"x"}}`:                           "body.anomaly.min_deviation",
		`{` + ok + `,"anomaly":[]}`:                                              "body.anomaly",
		`[]`:                                                                     "body",
		`null`:                                                                   "body",
		`"x"`:                                                                    "body",
	} {
		t.Logf("%.80s", body)
		s.do(s.a.all, http.MethodPost, "/api/v1/monitors", body).problem(location)
	}
	if n := s.count(`select count(*) from monitors`); n != 0 {
		t.Errorf("%d monitors were made all the same", n)
	}
}

func TestPatchFaultsChangeNothing(t *testing.T) {
	s := newBundle(t)
	id := s.hourly(s.a, "m")
	for body, location := range map[string]string{
		`{"nmae":"x"}`:                              "body.nmae",
		`{"Name":"x"}`:                              "body.Name",
		`{"name":null}`:                             "body.name",
		`{"schedule":null}`:                         "body.schedule",
		`{"schedule":{"timezone":"UTC"}}`:           "body.schedule",
		`{"schedule":{"cron":null}}`:                "body.schedule",
		`{"grace":"1001d"}`:                         "body.grace",
		`{"anomaly":{"z":1}}`:                       "body.anomaly.z",
		`{"project_id":"` + s.a.org.String() + `"}`: "body.project_id",
		`{"ping_key":"` + s.a.org.String() + `"}`:   "body.ping_key",
	} {
		s.do(s.a.all, http.MethodPatch, "/api/v1/monitors/"+id, body).problem(location)
	}
	if v := s.count(`select version from monitors`); v != 1 {
		t.Errorf("version %d", v)
	}
}

func TestAProblemLeadsWithWhatIsWrong(t *testing.T) {
	s := newBundle(t)
	r := s.do(s.a.all, http.MethodPost, "/api/v1/monitors", `{"nmae":"x","schedule":{"interval":"1h"},"name":"n"}`).want(http.StatusUnprocessableEntity)
	if got := r.text("detail"); got != "body.nmae: unknown field" {
		t.Errorf("detail %q", got)
	}
	r = s.do(s.a.all, http.MethodPost, "/api/v1/monitors", `{"name":"n","schedule":{"cron":"0 3 * * x"}}`).want(http.StatusUnprocessableEntity)
	if !strings.Contains(r.text("detail"), "body.schedule.cron: character 9: ") {
		t.Errorf("detail %q", r.text("detail"))
	}
	r = s.do(s.a.all, http.MethodPost, "/api/v1/monitors", `{"name":"`+strings.Repeat("long", 1000)+`","schedule":{"interval":"1h"}}`).want(http.StatusUnprocessableEntity)
	if len(r.raw) > 500 {
		t.Errorf("%d bytes come back: %.600s", len(r.raw), r.raw)
	}
}

func TestBodiesThatAreNone(t *testing.T) {
	s := newBundle(t)
	for _, body := range []string{``, `{`, `{"name":}`, "\x00", `{"name":"n"}{"name":"m"}`} {
		s.do(s.a.all, http.MethodPost, "/api/v1/monitors", body).want(http.StatusBadRequest)
	}
	big := `{"name":"n","schedule":{"interval":"1h"},"tags":["` + strings.Repeat("x", 1<<20) + `"]}`
	s.do(s.a.all, http.MethodPost, "/api/v1/monitors", big).want(http.StatusRequestEntityTooLarge)
	deep := strings.Repeat(`{"anomaly":`, 20000) + `1` + strings.Repeat(`}`, 20000)
	s.do(s.a.all, http.MethodPost, "/api/v1/monitors", deep).want(http.StatusBadRequest)
}

func TestPathsThatAreNone(t *testing.T) {
	s := newBundle(t)
	s.do(s.a.all, http.MethodGet, "/api/v1/monitorz", nil).want(http.StatusNotFound)
	s.do(s.a.all, http.MethodGet, "/api/v1/monitors/", nil).want(http.StatusNotFound)
	s.do(s.a.all, http.MethodGet, "/api/v1/monitors/not-a-uuid", nil).problem("path.id")
	r := s.do(s.a.all, http.MethodPatch, "/api/v1/monitors", nil).want(http.StatusMethodNotAllowed)
	if got := r.header.Get("Allow"); got != "GET, POST" {
		t.Errorf("Allow %q", got)
	}
	r = s.do(s.a.all, http.MethodGet, "/api/v1/monitors/x/pause", nil).want(http.StatusMethodNotAllowed)
	if got := r.header.Get("Allow"); got != "POST" {
		t.Errorf("Allow %q", got)
	}
}
