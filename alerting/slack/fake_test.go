package slack_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"github.com/slack-go/slack/slacktest"
)

// posted is a message in the fake Slack.
type posted struct {
	channel, ts, thread, text string
	broadcast                 bool
	blocks, attachments       string // JSON
	edits                     int
	deleted                   bool
	clientID                  string
}

// shown is everything that somebody would read of it.
func (p posted) shown() string {
	return p.text + "\n" + unescaped(p.blocks) + "\n" + unescaped(p.attachments)
}

// unescaped undoes JSON's own escapes, not Slack's entities.
func unescaped(s string) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&", `\n`, "\n", `\"`, `"`).Replace(s)
}

// failure is what the fake Slack answers instead.
type failure struct {
	status int    // 0: 200 with the code
	code   string // Slack's
	header http.Header
	body   string // in place of JSON
}

// fakeSlack is a workspace that remembers what was posted, and is as strict with blocks as Slack says it is.
type fakeSlack struct {
	t      *testing.T
	server *slacktest.Server

	mu       sync.Mutex
	n        int
	messages []*posted
	names    map[string]string // of channels, by #name
	closed   map[string]bool   // channels by id, that the app is not in
	joined   []string
	calls    []string // methods, in order
	fail     func(method string, form url.Values) *failure
	oauth    func(form url.Values) string // JSON of oauth.v2.access
	tz       string
	hook     chan string // bodies sent to response_urls
	dedupe   bool        // client_msg_id is honoured
	strict   bool
}

func newFakeSlack(t *testing.T) *fakeSlack {
	t.Helper()
	f := &fakeSlack{
		t: t, names: map[string]string{"#ops": "C0OPS", "#other": "C0OTHER"}, closed: map[string]bool{}, tz: "Europe/Berlin",
		hook: make(chan string, 100), strict: true,
	}
	f.server = slacktest.NewTestServer(func(c slacktest.Customize) {
		for _, method := range []string{
			"chat.postMessage", "chat.update", "conversations.list", "conversations.join", "users.info", "auth.revoke", "oauth.v2.access",
		} {
			c.Handle("/"+method, f.serve)
		}
	})
	f.server.Start()
	t.Cleanup(f.server.Stop)
	return f
}

func (f *fakeSlack) serve(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		f.t.Error(err)
	}
	method := path.Base(r.URL.Path)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, method)
	if f.fail != nil {
		if x := f.fail(method, r.Form); x != nil {
			f.refuse(w, *x)
			return
		}
	}
	if method != "oauth.v2.access" && r.Form.Get("token") == "" && r.Header.Get("Authorization") == "" {
		f.refuse(w, failure{code: "not_authed"})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch method {
	case "chat.postMessage":
		f.post(w, r.Form)
	case "chat.update":
		f.update(w, r.Form)
	case "conversations.list":
		f.list(w)
	case "conversations.join":
		id := r.Form.Get("channel")
		f.joined = append(f.joined, id)
		delete(f.closed, id)
		_, _ = fmt.Fprintf(w, `{"ok":true,"channel":{"id":%q}}`, id)
	case "users.info":
		_, _ = fmt.Fprintf(w, `{"ok":true,"user":{"id":%q,"tz":%q,"tz_offset":3600}}`, r.Form.Get("user"), f.tz)
	case "oauth.v2.access":
		_, _ = io.WriteString(w, f.oauth(r.Form))
	default:
		_, _ = io.WriteString(w, `{"ok":true,"revoked":true}`)
	}
}

func (f *fakeSlack) refuse(w http.ResponseWriter, x failure) {
	maps.Copy(w.Header(), x.header)
	if x.status != 0 {
		w.WriteHeader(x.status)
	}
	switch {
	case x.body != "":
		_, _ = io.WriteString(w, x.body)
	case x.code != "":
		_, _ = fmt.Fprintf(w, `{"ok":false,"error":%q}`, x.code)
	}
}

func (f *fakeSlack) post(w http.ResponseWriter, form url.Values) {
	channel := form.Get("channel")
	if id, ok := f.names[channel]; ok {
		channel = id
	}
	if !strings.HasPrefix(channel, "C") {
		f.refuse(w, failure{code: "channel_not_found"})
		return
	}
	if f.closed[channel] {
		f.refuse(w, failure{code: "not_in_channel"})
		return
	}
	if why := f.wrong(form); why != "" {
		f.t.Errorf("Slack would refuse: %s", why)
		f.refuse(w, failure{code: "invalid_blocks"})
		return
	}
	id := form.Get("client_msg_id")
	for _, m := range f.messages {
		if f.dedupe && id != "" && m.clientID == id {
			if m.deleted {
				f.refuse(w, failure{code: "duplicate_message_not_found"})
				return
			}
			_, _ = fmt.Fprintf(w, `{"ok":true,"channel":%q,"ts":%q}`, m.channel, m.ts)
			return
		}
	}
	f.n++
	m := &posted{
		channel: channel, ts: fmt.Sprintf("1790000000.%06d", f.n), thread: form.Get("thread_ts"), text: form.Get("text"), clientID: id,
		broadcast: form.Get("reply_broadcast") == "true", blocks: form.Get("blocks"), attachments: form.Get("attachments"),
	}
	f.messages = append(f.messages, m)
	_, _ = fmt.Fprintf(w, `{"ok":true,"channel":%q,"ts":%q}`, m.channel, m.ts)
}

func (f *fakeSlack) update(w http.ResponseWriter, form url.Values) {
	if why := f.wrong(form); why != "" {
		f.t.Errorf("Slack would refuse: %s", why)
	}
	for _, m := range f.messages {
		if m.ts == form.Get("ts") && m.channel == form.Get("channel") && !m.deleted {
			m.text = form.Get("text")
			if form.Has("blocks") { // what is not sent stays as it was
				m.blocks = form.Get("blocks")
			}
			if form.Has("attachments") {
				m.attachments = form.Get("attachments")
			}
			m.edits++
			_, _ = fmt.Fprintf(w, `{"ok":true,"channel":%q,"ts":%q}`, m.channel, m.ts)
			return
		}
	}
	f.refuse(w, failure{code: "message_not_found"})
}

func (f *fakeSlack) list(w io.Writer) {
	var channels []map[string]any
	for name, id := range f.names {
		channels = append(channels, map[string]any{"id": id, "name": strings.TrimPrefix(name, "#")})
	}
	b, _ := json.Marshal(map[string]any{"ok": true, "channels": channels})
	_, _ = w.Write(b)
}

// wrong is what Slack would say against the blocks; "": nothing.
func (f *fakeSlack) wrong(form url.Values) string {
	if !f.strict {
		return ""
	}
	var blocks []map[string]any
	var attachments []struct {
		Blocks []map[string]any `json:"blocks"`
	}
	if s := form.Get("blocks"); s != "" {
		if err := json.Unmarshal([]byte(s), &blocks); err != nil {
			return err.Error()
		}
	}
	if s := form.Get("attachments"); s != "" {
		if err := json.Unmarshal([]byte(s), &attachments); err != nil {
			return err.Error()
		}
	}
	if form.Get("text") == "" || length(form.Get("text")) > 4000 {
		return "text: none, or too long"
	}
	for _, a := range attachments {
		blocks = append(blocks, a.Blocks...)
	}
	if len(blocks) > 50 {
		return "too many blocks"
	}
	for _, b := range blocks {
		if why := wrongBlock(b); why != "" {
			return fmt.Sprintf("%s: %v", why, b)
		}
	}
	return ""
}

func wrongBlock(b map[string]any) string {
	text := func(v any) string {
		if o, ok := v.(map[string]any); ok {
			s, _ := o["text"].(string)
			return s
		}
		return ""
	}
	most := func(s string, n int) bool { return s != "" && length(s) <= n }
	switch b["type"] {
	case "header":
		if !most(text(b["text"]), 150) {
			return "header"
		}
	case "section":
		fields, _ := b["fields"].([]any)
		if b["text"] == nil && len(fields) == 0 || b["text"] != nil && !most(text(b["text"]), 3000) || len(fields) > 10 {
			return "section"
		}
		for _, field := range fields {
			if !most(text(field), 2000) {
				return "field"
			}
		}
	case "actions", "context":
		elements, _ := b["elements"].([]any)
		if len(elements) == 0 || len(elements) > 25 || b["type"] == "context" && len(elements) > 10 {
			return "elements"
		}
		seen := map[any]bool{}
		for _, e := range elements {
			one, _ := e.(map[string]any)
			if one["type"] != "button" {
				continue
			}
			value, _ := one["value"].(string)
			address, _ := one["url"].(string)
			if !most(text(one["text"]), 75) || length(value) > 2000 || length(address) > 3000 || seen[one["action_id"]] {
				return "button"
			}
			seen[one["action_id"]] = true
		}
	default:
		return "unknown type"
	}
	return ""
}

func length(s string) int { return len(utf16.Encode([]rune(s))) }

// all are the messages, in the order of posting.
func (f *fakeSlack) all() []posted {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]posted, len(f.messages))
	for i, m := range f.messages {
		out[i] = *m
	}
	return out
}

// heads are the messages that are in no thread.
func (f *fakeSlack) heads() []posted {
	var out []posted
	for _, m := range f.all() {
		if m.thread == "" && !m.deleted {
			out = append(out, m)
		}
	}
	return out
}

// replies are those in the thread of a message.
func (f *fakeSlack) replies(head posted) []posted {
	var out []posted
	for _, m := range f.all() {
		if m.thread == head.ts {
			out = append(out, m)
		}
	}
	return out
}

func (f *fakeSlack) remove(ts string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.messages {
		if m.ts == ts {
			m.deleted = true
		}
	}
}

// failing makes the fake answer otherwise; nil: as usual.
func (f *fakeSlack) failing(with func(method string, form url.Values) *failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = with
}

func (f *fakeSlack) called(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c == method {
			n++
		}
	}
	return n
}

// RoundTrip makes the fake hooks.slack.com; everything else goes where it says.
func (f *fakeSlack) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host != "hooks.slack.com" {
		return http.DefaultTransport.RoundTrip(r)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	f.hook <- string(b)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("ok")), Request: r}, nil
}
