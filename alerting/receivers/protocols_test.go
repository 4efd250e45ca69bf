package receivers_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/alertmanager/notify/test"
)

// protocol is how a kind of receiver is configured and what its service answers.
type protocol struct {
	name   string
	list   string // in a receiver
	entry  string // URL stands for the server's, SECRET for the secret
	secure bool   // it talks TLS to an address that cannot be configured
	// answer is what the service says with a status; nil: {} as JSON.
	answer func(r *http.Request, status int) (contentType, body string)
	// also are the statuses besides 5xx that are tried again; accepts says which of 2xx take the message, nil: all.
	also    []int
	accepts func(status int) bool
	// bodies: it looks at the body only, and an answer that can have none says nothing to it.
	bodies bool
	// contains is what the request's path or body must have in it.
	contains []string
}

// retried is the shared table: Alertmanager's own for the statuses that have a name, and its rule for the rest.
func (p protocol) retried(status int) bool {
	if p.bodies && status == http.StatusNotModified {
		return true
	}
	table := test.RetryTests(append(test.DefaultRetryCodes(), p.also...))
	if want, ok := table[status]; ok && status >= 200 {
		return want
	}
	switch {
	case p.bodies && status == 101:
		return true
	case status == 101: // the answer to a request to switch protocols, which nobody made
		return false
	case status < 200: // nothing but an interim answer: there was none
		return true
	}
	return status >= 500 || slices.Contains(p.also, status)
}

func (p protocol) taken(status int) bool {
	return status >= 200 && status <= 299 && (p.accepts == nil || p.accepts(status))
}

func withBody(status int) bool { return status != http.StatusNoContent }

func asJSON(body string) func(*http.Request, int) (string, string) {
	return func(*http.Request, int) (string, string) { return "application/json", body }
}

func protocols() []protocol {
	const tooMany = http.StatusTooManyRequests
	ours := []int{http.StatusRequestTimeout, http.StatusTooEarly, tooMany}
	return []protocol{
		{name: "webhook", list: "webhook_configs", entry: `url: URL/SECRET`, contains: []string{`"version":"4"`, `"MonitorMissed"`}},
		{name: "discord", list: "discord_configs", entry: `webhook_url: URL/api/webhooks/1/SECRET`, contains: []string{`"embeds"`, "nightly backup missed its deadline"}},
		{name: "slack", list: "slack_configs", entry: `api_url: URL/services/SECRET`, answer: func(*http.Request, int) (string, string) {
			return "text/plain", "ok"
		}, accepts: withBody, contains: []string{`"attachments"`, "nightly backup missed its deadline"}},
		{name: "slack app token", list: "slack_configs", entry: "app_token: SECRET\napp_url: URL/api/chat.postMessage\nchannel: '#ops'", answer: asJSON(`{"ok":true}`), accepts: withBody},
		{
			name: "pagerduty", list: "pagerduty_configs", entry: "routing_key: SECRET\nurl: URL/v2/enqueue", also: []int{tooMany},
			contains: []string{`"event_action":"trigger"`, `[FIRING] nightly backup missed`, `"client":"Tokiflow"`},
		},
		{name: "pagerduty v1", list: "pagerduty_configs", entry: "service_key: SECRET\nhttp_config: {tls_config: {insecure_skip_verify: true}}", secure: true, also: []int{http.StatusForbidden}},
		{name: "opsgenie", list: "opsgenie_configs", entry: "api_key: SECRET\napi_url: URL/", also: []int{tooMany}, contains: []string{"/v2/alerts", "[FIRING] nightly backup"}},
		{name: "victorops", list: "victorops_configs", entry: "api_key: SECRET\napi_url: URL/alert/\nrouting_key: ops", contains: []string{`"message_type":"CRITICAL"`, "nightly backup"}},
		{
			name: "pushover", list: "pushover_configs", entry: "user_key: SECRET\ntoken: SECRET\nhttp_config: {tls_config: {insecure_skip_verify: true}}", secure: true,
			contains: []string{"message=nightly"},
		},
		{
			name: "telegram", list: "telegram_configs", entry: "bot_token: '12345:SECRET'\nchat_id: 1\napi_url: URL", also: []int{tooMany}, answer: telegram, bodies: true, accepts: withBody,
			contains: []string{"sendMessage", "HTML"},
		},
		{name: "webex", list: "webex_configs", entry: "room_id: r\napi_url: URL/v1/messages\nhttp_config: {authorization: {credentials: SECRET}}", contains: []string{`"markdown"`}},
		{name: "msteams", list: "msteams_configs", entry: "webhook_url: URL/SECRET", contains: []string{`"MessageCard"`}},
		{name: "msteamsv2", list: "msteamsv2_configs", entry: "webhook_url: URL/SECRET", contains: []string{`"AdaptiveCard"`}},
		{
			name: "jira", list: "jira_configs", entry: "api_url: URL/rest/api/2/\nproject: OPS\nissue_type: Bug\nhttp_config: {basic_auth: {username: u, password: SECRET}}", also: []int{tooMany},
			answer: asJSON(`{"issues":[],"total":0,"key":"OPS-1"}`), accepts: withBody,
		},
		{
			name: "rocketchat", list: "rocketchat_configs", entry: "api_url: URL\ntoken: SECRET\ntoken_id: SECRETid\nchannel: ops", answer: asJSON(`{"success":true}`),
			accepts: withBody, contains: []string{"nightly backup"},
		},
		{name: "mattermost", list: "mattermost_configs", entry: "webhook_url: URL/hooks/SECRET", contains: []string{"nightly backup"}},
		{name: "incidentio", list: "incidentio_configs", entry: "url: URL/v2/alert_events\nalert_source_token: SECRET", also: []int{tooMany}},
		{
			name: "sns", list: "sns_configs", entry: "api_url: URL\ntopic_arn: arn:aws:sns:us-east-2:123456789012:ops\nsigv4: {region: us-east-2, access_key: AK, secret_key: SECRET}",
			answer: sns, contains: []string{"Action=Publish", "nightly"},
		},
		{
			name: "wechat", list: "wechat_configs", entry: "api_url: URL/\ncorp_id: c\napi_secret: SECRET\nagent_id: '1'\nto_user: u", also: []int{tooMany},
			answer: asJSON(`{"errcode":0,"errmsg":"ok","access_token":"` + secret + `"}`), accepts: func(s int) bool { return s == http.StatusOK },
		},
		{name: "alertmanager", list: "alertmanager_configs", entry: "url: URL/am\npassword: SECRET\nusername: u", also: ours, contains: []string{"/am/api/v2/alerts", `"endsAt"`}},
		{
			name: "signed webhook", list: "signed_webhook_configs", entry: "url: URL/SECRET\nsecret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8G", also: ours,
			contains: []string{`"version":"4"`, `"organisation_id"`},
		},
	}
}

// telegram says the status in the body: its bot looks nowhere else.
func telegram(_ *http.Request, status int) (string, string) {
	if status >= 200 && status <= 299 {
		return "application/json", `{"ok":true,"result":{"message_id":1,"chat":{"id":1}}}`
	}
	return "application/json", fmt.Sprintf(`{"ok":false,"error_code":%d,"description":"said %d"}`, status, status)
}

func sns(_ *http.Request, status int) (string, string) {
	if status >= 200 && status <= 299 {
		return "text/xml", `<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>`
	}
	return "text/xml", `<ErrorResponse><Error><Type>Sender</Type><Code>C` + strconv.Itoa(status) + `</Code><Message>no</Message></Error></ErrorResponse>`
}

// written puts the server's address and the secret into the entry.
func (p protocol) written(url string) string {
	return strings.NewReplacer("URL", url, "SECRET", secret).Replace(p.entry)
}
