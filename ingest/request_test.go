package ingest

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokiflow/tokiflow/core/monitor"
	"github.com/tokiflow/tokiflow/core/record"
)

func TestSeconds(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "1": time.Second, "1.": time.Second, ".5": 500 * time.Millisecond, "0.000001": time.Microsecond, "0.0000019": time.Microsecond,
		"12.345678": 12345678 * time.Microsecond, "0012": 12 * time.Second, "1000000000": maxSeconds * time.Second,
	} {
		if got, ok := parseSeconds(s); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", ".", "-1", "+1", "1e3", "1,5", "1.2.3", " 1", "NaN", "Inf", "0x1", "1000000001", "1000000000.5", strings.Repeat("9", 1000)} {
		if got, ok := parseSeconds(s); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestUUIDs(t *testing.T) {
	for _, s := range []string{runID, uuid.Nil.String(), uuid.Max.String(), mainKey} {
		for _, upper := range []bool{false, true} {
			if got, ok := parseUUID(s, upper); !ok || got.String() != s {
				t.Errorf("%q: %v %v", s, got, ok)
			}
		}
		_, ok := parseUUID(strings.ToUpper(s), false)
		if want := strings.ToUpper(s) == s; ok != want {
			t.Errorf("%q in upper case: %v", s, ok)
		}
	}
	for _, s := range []string{"", "1", strings.ReplaceAll(runID, "-", ""), "{" + runID + "}", "urn:uuid:" + runID, runID + "0", strings.Replace(runID, "1", "g", 1), strings.Replace(runID, "-", "0", 1)} {
		if _, ok := parseUUID(s, true); ok {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestQueries(t *testing.T) {
	for _, c := range []struct {
		query    string
		rid      string
		duration time.Duration
		create   bool
	}{
		{"", "", record.NoDuration, false},
		{"&&=&a=b&;", "", record.NoDuration, false},
		{"create=1", "", record.NoDuration, true},
		{"create=1&create=0", "", record.NoDuration, false},
		{"cre%61te=%31", "", record.NoDuration, true},
		{"rid=" + strings.ReplaceAll(runID, "-", "%2D"), runID, record.NoDuration, false},
		{"duration=1%2E5&rid=" + runID, runID, 1500 * time.Millisecond, false},
		{"%zz=1&a=%", "", record.NoDuration, false},
	} {
		q, res := parseURL("/ping/"+mainKey, c.query)
		if res != resultOK || q.duration != c.duration || q.create != c.create || q.rid != uuid.Nil && q.rid.String() != c.rid || (q.rid == uuid.Nil) != (c.rid == "") {
			t.Errorf("%q: %+v, %v", c.query, q, res)
		}
	}
}

// FuzzURL: whatever the path and the query are, the answer is one of three; and what is taken is within the contract.
func FuzzURL(f *testing.F) {
	for _, s := range [][2]string{
		{"/ping/" + mainKey, ""},
		{"/ping/" + mainKey + "/start", "rid=" + runID},
		{"/ping/" + projKey + "/main-job/255", "create=1"},
		{"/api/ping/" + mainKey, "state=fail&exit_code=3"},
		{"/ping/" + mainKey + "/256", "duration=1.5"},
		{"/ping/x/Y/", "a=%zz;&=+"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		q, res := parseURL(path, query)
		switch res {
		case resultBadURL, resultBadUUID, resultNotFound:
			return
		case resultOK:
		default:
			t.Fatalf("%q?%q: result %d", path, query, res)
		}
		if (q.project == "") != (q.slug == "") || q.slug != "" && !monitor.ValidSlug(q.slug) {
			t.Fatalf("%q: project %q, slug %q", path, q.project, q.slug)
		}
		if q.kind < record.Success || q.kind > record.Log || q.exit < -1 || q.exit > maxExit || q.kind == record.Success && q.exit > 0 {
			t.Fatalf("%q?%q: %v with exit status %d", path, query, q.kind, q.exit)
		}
		if q.duration < -1 || q.duration > maxSeconds*time.Second {
			t.Fatalf("%q: duration %v", query, q.duration)
		}
		rec := record.AppendPing(nil, &record.Ping{Kind: q.kind, ExitCode: q.exit, Duration: q.duration, RID: q.rid})
		if _, err := record.ParsePing(rec); err != nil {
			t.Fatalf("%q?%q makes a record that cannot be read: %v", path, query, err)
		}
	})
}

// FuzzQuery holds the query parser against net/url's, where that takes the query.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"rid=" + runID, "create=1&create=0", "duration=0.5", "a=b&&=", "cre%61te=1", "rid=%31"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		last := func(name string) (string, bool) {
			if v := values[name]; len(v) > 0 {
				return v[len(v)-1], true
			}
			return "", false
		}
		q, res := parseURL("/ping/"+mainKey, query)
		rid, hasRID := last("rid")
		want, validRID := parseUUID(rid, true)
		duration, hasDuration := last("duration")
		_, validDuration := parseSeconds(duration)
		switch {
		case hasRID && !validRID:
			if res != resultBadUUID {
				t.Fatalf("%q: result %d", query, res)
			}
		case hasDuration && !validDuration:
			if res != resultBadURL {
				t.Fatalf("%q: result %d", query, res)
			}
		default:
			create, _ := last("create")
			if res != resultOK || hasRID && q.rid != want || q.create != (create == "1") {
				t.Fatalf("%q: %+v, result %d", query, q, res)
			}
		}
	})
}

func TestRemoteAddr(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		peer, forwarded string // a "|" parts header lines
		trust           bool
		want            string
	}{
		{"192.0.2.1:1234", "", false, "192.0.2.1"},
		{"[2001:db8::1]:1234", "", false, "2001:db8::1"},
		{"[fe80::1%eth0]:1234", "", false, "fe80::1"},
		{"@", "", false, ""},
		{"", "1.2.3.4", true, ""},
		{"192.0.2.1:1234", "1.2.3.4", false, "192.0.2.1"},
		{"192.0.2.1:1234", "1.2.3.4", true, "192.0.2.1"}, // no proxy of ours
		{"10.0.0.1:1234", "1.2.3.4", false, "10.0.0.1"},
		{"10.0.0.1:1234", "", true, "10.0.0.1"},
		{"10.0.0.1:1234", "1.2.3.4", true, "1.2.3.4"},
		{"[::ffff:10.0.0.1]:1234", "1.2.3.4", true, "1.2.3.4"},
		{"[fd00::1]:1234", "2001:db8::7", true, "2001:db8::7"},
		{"10.0.0.1:1234", "6.6.6.6, 1.2.3.4", true, "1.2.3.4"}, // what the client claims itself is not believed
		{"10.0.0.1:1234", "6.6.6.6, 1.2.3.4, 10.9.9.9", true, "1.2.3.4"},
		{"10.0.0.1:1234", "6.6.6.6|1.2.3.4|10.9.9.9", true, "1.2.3.4"},
		{"10.0.0.1:1234", "10.1.1.1, 10.2.2.2", true, "10.1.1.1"},
		{"10.0.0.1:1234", "1.2.3.4:5678", true, "1.2.3.4"},
		{"10.0.0.1:1234", "[2001:db8::7]:5678", true, "2001:db8::7"},
		{"10.0.0.1:1234", "[2001:db8::7]", true, "2001:db8::7"},
		{"10.0.0.1:1234", "fe80::1%eth0", true, "fe80::1"},
		{"10.0.0.1:1234", "unknown", true, "10.0.0.1"},
		{"10.0.0.1:1234", "1.2.3.4, nonsense, 10.9.9.9", true, "10.9.9.9"},
		{"10.0.0.1:1234", " , ,", true, "10.0.0.1"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{}}
		if c.forwarded != "" {
			r.Header["X-Forwarded-For"] = strings.Split(c.forwarded, "|")
		}
		var nets []netip.Prefix
		if c.trust {
			nets = trusted
		}
		if got := remoteAddr(r, nets); got != c.want {
			t.Errorf("peer %q, forwarded %q (trusted: %v): %q, want %q", c.peer, c.forwarded, c.trust, got, c.want)
		}
	}
}

func TestUserAgents(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "curl/8.5.0": "curl/8.5.0", strings.Repeat("a", 300): strings.Repeat("a", 200), "a\xffb": "a\uFFFDb",
		strings.Repeat("a", 199) + "é": strings.Repeat("a", 199), strings.Repeat("é", 150): strings.Repeat("é", 100),
		strings.Repeat("a", 198) + "é!": strings.Repeat("a", 198) + "é", strings.Repeat("\xa9", 300): "",
	} {
		r := &http.Request{Header: http.Header{"User-Agent": {in}}}
		if got := userAgent(r); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := userAgent(&http.Request{Header: http.Header{}}); got != "" {
		t.Errorf("without one: %q", got)
	}
}
