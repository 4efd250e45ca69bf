package slack_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tokiflow/tokiflow/core/tenant"
)

// tell notifies one alert directly, as one attempt.
func (b *bundle) tell(org tenant.OrgID, entry string, limit time.Duration) (bool, error) {
	b.t.Helper()
	n, err := b.app.Factory(org)(entryOf(b.t, entry), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), limit)
	defer cancel()
	return n.Notify(notify.WithGroupKey(ctx, b.t.Name()), amAlert(missed("backup", time.Now().Add(-time.Minute))))
}

// statusError is what the log of notifications reads the status from.
type statusError interface {
	error
	StatusCode() int
}

// Every status of HTTP is retried as Alertmanager's own table has it, and 429 too.
func TestEveryStatus(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	for status := 200; status < 600; status++ {
		b.slack.failing(func(string, url.Values) *failure { return &failure{status: status} })
		if status == http.StatusTooManyRequests {
			continue // below
		}
		retry, err := b.tell(b.a, "{channel: '#ops'}", time.Second)
		if err == nil {
			t.Errorf("%d: no error, and nothing was posted", status)
		}
		// 200 without JSON is no answer of Slack's: something is in between, and it may be gone next time.
		if want := status >= 500 || status == http.StatusOK; retry != want {
			t.Errorf("%d: retry %t, want %t: %v", status, retry, want, err)
		}
		coded, ok := errors.AsType[statusError](err)
		if status != http.StatusOK && (!ok || coded.StatusCode() != status) {
			t.Errorf("%d: the error has no status: %v", status, err)
		}
		if strings.Contains(err.Error(), "xoxb") {
			t.Errorf("%d: the token is in the error: %v", status, err)
		}
	}
}

// Every code of Slack's has one consequence.
func TestEveryCode(t *testing.T) {
	for _, c := range []struct {
		codes   string
		retry   bool
		revoked bool
		says    string
	}{
		{codes: "ratelimited rate_limited fatal_error internal_error service_unavailable request_timeout message_limit_exceeded team_added_to_org org_login_required external_channel_migrating", retry: true},
		{codes: "token_revoked token_expired account_inactive invalid_auth", revoked: true},
		{codes: "channel_not_found not_in_channel is_archived", says: "invite the app there (/invite @Tokiflow) or give another channel"},
		{codes: "missing_scope not_authed no_permission restricted_action restricted_action_read_only_channel ekm_access_denied access_denied " +
			"accesslimited invalid_arguments as_user_not_supported team_access_not_granted method_deprecated some_code_of_tomorrow"},
		{codes: "invalid_blocks invalid_blocks_format invalid_attachments too_many_attachments msg_blocks_too_long msg_too_long no_text"},
		{codes: "message_not_found thread_not_found cannot_reply_to_message duplicate_message_not_found duplicate_channel_not_found"},
	} {
		for code := range strings.FieldsSeq(c.codes) {
			b := newBundle(t)
			b.connect(b.a, "T0ACME")
			b.slack.failing(func(method string, _ url.Values) *failure {
				if method == "chat.postMessage" {
					return &failure{code: code}
				}
				return nil
			})
			retry, err := b.tell(b.a, "{channel: '#ops'}", 2*time.Second)
			if err == nil || retry != c.retry {
				t.Errorf("%s: retry %t, want %t: %v", code, retry, c.retry, err)
				continue
			}
			has(t, err.Error(), code, c.says)
			w, _ := b.app.Workspace(t.Context(), b.a)
			if w.Revoked() != c.revoked {
				t.Errorf("%s: revoked %t, want %t", code, w.Revoked(), c.revoked)
			}
			if !c.revoked {
				continue
			}
			if n := testutil.CollectAndCount(b.registry, "tokiflow_slack_workspaces_revoked_total"); n != 1 {
				t.Errorf("%s: %d series", code, n)
			}
			calls := b.slack.called("chat.postMessage")
			retry, err = b.tell(b.a, "{channel: '#ops'}", 2*time.Second)
			if err == nil || retry || b.slack.called("chat.postMessage") != calls {
				t.Errorf("%s: Slack was asked again with a revoked token: %t %v", code, retry, err)
			}
			has(t, err.Error(), "install it again")
		}
	}
}

func TestAMessageThatSlackDoesNotLikeGoesAsText(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	b.slack.failing(func(method string, form url.Values) *failure {
		if method == "chat.postMessage" && form.Get("blocks") != "" {
			return &failure{code: "invalid_blocks"}
		}
		return nil
	})
	if _, err := b.tell(b.a, "{channel: '#ops'}", 2*time.Second); err != nil {
		t.Fatal(err)
	}
	has(t, b.slack.heads()[0].text, "Missed: backup")

	// The same when it is edited: nothing of what it showed stays.
	g := b.group(b.a, "{channel: '#ops'}")
	b.slack.failing(nil)
	r := g.fire(missed("other", time.Now().Add(-time.Hour)))
	g.mustFlush()
	b.slack.failing(func(method string, form url.Values) *failure {
		if method == "chat.update" && form.Get("blocks") != "[]" {
			return &failure{code: "msg_blocks_too_long"}
		}
		return nil
	})
	g.resolve(r, time.Minute)
	g.mustFlush()
	has(t, b.slack.heads()[1].text, "Resolved: Missed: other")
	hasNot(t, b.slack.heads()[1].shown(), "tokiflow_acknowledge", "🔴")
}

func TestRateLimits(t *testing.T) {
	limited := func(after string) func(string, url.Values) *failure {
		n := 0
		return func(method string, _ url.Values) *failure {
			if n++; n > 1 {
				return nil
			}
			h := http.Header{}
			if after != "" {
				h.Set("Retry-After", after)
			}
			return &failure{status: http.StatusTooManyRequests, header: h}
		}
	}
	t.Run("a short wait is waited", func(t *testing.T) {
		for _, after := range []string{"0", "1", "", "nonsense", "-5"} {
			b := newBundle(t)
			b.connect(b.a, "T0ACME")
			b.slack.failing(limited(after))
			if _, err := b.tell(b.a, "{channel: '#ops'}", 10*time.Second); err != nil {
				t.Errorf("Retry-After %q: %v", after, err)
			}
			if n := len(b.slack.heads()); n != 1 {
				t.Errorf("Retry-After %q: %d messages", after, n)
			}
		}
	})
	t.Run("a long one is not, and nobody asks until it is over", func(t *testing.T) {
		for _, after := range []string{"30", "999999999999", strconv.FormatInt(1<<62, 10), time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} {
			b := newBundle(t)
			b.connect(b.a, "T0ACME")
			b.connect(b.b, "T0GLOBEX")
			b.slack.failing(limited(after))
			for range 3 {
				retry, err := b.tell(b.a, "{channel: '#ops'}", time.Second)
				reason, ok := errors.AsType[*notify.ErrorWithReason](err)
				if !retry || !ok || reason.Reason != notify.RateLimitedReason {
					t.Errorf("Retry-After %q: %t %v", after, retry, err)
				}
			}
			if n := b.slack.called("chat.postMessage"); n != 1 {
				t.Errorf("Retry-After %q: Slack was asked %d times", after, n)
			}
			if _, err := b.tell(b.b, "{channel: '#ops'}", time.Second); err != nil {
				t.Errorf("another workspace waits too: %v", err)
			}
		}
	})
}

func TestSlackCannotBeReached(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	b.slack.server.Stop()
	retry, err := b.tell(b.a, "{channel: '#ops'}", time.Second)
	if err == nil || !retry {
		t.Errorf("%t %v", retry, err)
	}
	hasNot(t, err.Error(), "xoxb", "http://")
}

func TestTheDatabaseCannotBeReached(t *testing.T) {
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	b.store.down = true
	if retry, err := b.tell(b.a, "{channel: '#ops'}", time.Second); err == nil || !retry {
		t.Errorf("%t %v", retry, err)
	}
}

func TestNoWorkspace(t *testing.T) {
	b := newBundle(t)
	retry, err := b.tell(b.a, "{channel: '#ops'}", time.Second)
	if err == nil || retry {
		t.Fatalf("%t %v", retry, err)
	}
	has(t, err.Error(), "/api/slack/install")
}

func TestATokenOfAnotherOrganisationDoesNotOpen(t *testing.T) {
	b := newBundle(t)
	w := b.connect(b.a, "T0ACME")
	if err := b.store.PutSlackWorkspace(t.Context(), b.b, w); err != nil { // moved in the database
		t.Fatal(err)
	}
	if retry, err := b.tell(b.b, "{channel: '#ops'}", time.Second); err == nil || retry || b.slack.called("chat.postMessage") != 0 {
		t.Errorf("%t %v", retry, err)
	}
}

func TestTheAppJoinsPublicChannels(t *testing.T) {
	for _, channel := range []string{"'#ops'", "C0OPS"} {
		b := newBundle(t)
		b.connect(b.a, "T0ACME")
		b.slack.closed["C0OPS"] = true
		if _, err := b.tell(b.a, "{channel: "+channel+"}", 2*time.Second); err != nil {
			t.Errorf("%s: %v", channel, err)
		}
		if len(b.slack.joined) != 1 || len(b.slack.heads()) != 1 {
			t.Errorf("%s: joined %v", channel, b.slack.joined)
		}
	}
	b := newBundle(t)
	b.connect(b.a, "T0ACME")
	for range 3 {
		if retry, err := b.tell(b.a, "{channel: '#secret'}", 2*time.Second); err == nil || retry {
			t.Errorf("%t %v", retry, err)
		}
	}
	if n := b.slack.called("conversations.list"); n != 1 {
		t.Errorf("the channels were listed %d times for one that is not there", n)
	}
}

func TestTheChannelOfTheInstallation(t *testing.T) {
	b := newBundle(t)
	w := b.connect(b.a, "T0ACME")
	if _, err := b.tell(b.a, "{}", time.Second); err != nil || b.slack.heads()[0].channel != "C0OPS" {
		t.Errorf("%v", err)
	}
	w.Channel, w.ChannelID = "", ""
	if err := b.store.PutSlackWorkspace(t.Context(), b.a, w); err != nil {
		t.Fatal(err)
	}
	if retry, err := b.tell(b.a, "{}", time.Second); err == nil || retry {
		t.Errorf("%t %v", retry, err)
	}
}
