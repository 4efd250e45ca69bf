package receivers_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

// inside is a server that must not be reached.
func inside(t testing.TB, secure bool) (port string, hits *atomic.Int64) {
	t.Helper()
	hits = new(atomic.Int64)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(w, `{"ok":true,"access_token":"x"}`)
	}))
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, hits
}

// guarded reaches what o allows, whatever the kind of receiver.
func guarded(t testing.TB, o safehttp.Options) func(*receivers.Options) {
	return func(r *receivers.Options) {
		r.Dial, r.Client = safehttp.DialContext(o), safehttp.New(o)
		t.Cleanup(r.Client.CloseIdleConnections)
	}
}

func TestPrivateAddressesAreNotReached(t *testing.T) {
	for _, p := range protocols() {
		if p.secure {
			continue // its address is not the customer's to choose
		}
		t.Run(p.name, func(t *testing.T) {
			port, hits := inside(t, false)
			for _, host := range []string{"127.0.0.1", "localhost", "169.254.169.254", "[::ffff:127.0.0.1]"} {
				b := newBundle(t, guarded(t, safehttp.Options{}))
				fails(t, b, b.integrationOf(p.list, p.written("http://"+host+":"+port)).Notify, "forbidden address")
			}
			if hits.Load() != 0 {
				t.Error("it was reached")
			}
		})
	}
}

func TestNamesThatRebindAreNotReached(t *testing.T) {
	for _, p := range protocols() {
		if p.secure {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			port, hits := inside(t, false)
			var asked atomic.Int64
			resolver := fakeDNS(t, func(name string) string {
				if name == "rebinding.test." && asked.Add(1) > 1 { // public when looked at, private when used
					return "127.0.0.1"
				}
				return "192.0.2.1"
			})
			b := newBundle(t, guarded(t, safehttp.Options{Resolver: resolver}))
			i := b.integrationOf(p.list, p.written("http://rebinding.test:"+port))
			for n := range uint64(2) {
				ctx, cancel := flush(t, n)
				if _, err := i.Notify(ctx, firing("a")...); err == nil || !strings.Contains(err.Error(), "forbidden address") {
					t.Errorf("%v", err)
				}
				cancel()
			}
			if asked.Load() < 2 || hits.Load() != 0 {
				t.Errorf("resolved %d times, reached %d times", asked.Load(), hits.Load())
			}
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, p := range protocols() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			port, hits := inside(t, p.secure)
			scheme, status := "http://", 302
			from := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, scheme+"127.0.0.1:"+port+"/inside", status)
			}))
			if p.secure {
				scheme = "https://"
				from.StartTLS()
			} else {
				from.Start()
			}
			t.Cleanup(from.Close)
			// Whatever is asked for is the first server, but the second itself.
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				if !strings.HasSuffix(address, ":"+port) {
					address = from.Listener.Addr().String()
				}
				var d net.Dialer
				return d.DialContext(ctx, network, address)
			}
			b := newBundle(t, func(o *receivers.Options) { o.Dial, o.Client = dial, through(t, dial) })
			i := b.integrationOf(p.list, p.written(from.URL))
			for n, code := range []int{301, 302, 303, 307, 308} {
				status = code
				ctx, cancel := flush(t, uint64(n))
				_, err := i.Notify(ctx, firing("a")...)
				cancel()
				if err == nil || strings.Contains(err.Error(), "hidden") {
					t.Errorf("%d: %v", code, err)
				}
			}
			if hits.Load() != 0 {
				t.Errorf("%d redirects were followed", hits.Load())
			}
		})
	}
}

// A token of OAuth 2 is fetched through the same dialer, and no proxy of the environment is used anywhere.
func TestOAuthTokensAndProxies(t *testing.T) {
	port, hits := inside(t, false)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:"+port)
	}
	oauth := "http_config: {oauth2: {client_id: c, client_secret: SECRET, token_url: 'http://127.0.0.1:" + port + "/token'}}"
	b := newBundle(t, guarded(t, safehttp.Options{}))
	fails(t, b, b.integrationOf("webhook_configs", strings.ReplaceAll("url: https://192.0.2.1/SECRET\n"+oauth, "SECRET", secret)).Notify, "forbidden address")
	b = newBundle(t, guarded(t, safehttp.Options{}))
	fails(t, b, b.integrationOf("webhook_configs", "url: http://10.0.0.1/").Notify, "forbidden address")
	// A proxy that the customer names is connected to as everything is.
	b = newBundle(t, guarded(t, safehttp.Options{}))
	fails(t, b, b.integrationOf("webhook_configs", "url: http://192.0.2.1/\nhttp_config: {proxy_url: 'http://127.0.0.1:"+port+"'}").Notify, "forbidden address")
	if hits.Load() != 0 {
		t.Error("it was reached")
	}
}

func TestWhatIsRefused(t *testing.T) {
	for words, c := range map[string]struct{ list, entry string }{
		"use_aws_http_client": {"sns_configs", "topic_arn: a\nuse_aws_http_client: true\nsigv4: {region: r, access_key: a, secret_key: SECRET}"},
		"sigv4.access_key":    {"sns_configs", "topic_arn: a\nsigv4: {region: r}"},
		"sigv4.profile":       {"sns_configs", "topic_arn: a\nsigv4: {region: r, profile: p, access_key: a, secret_key: SECRET}"},
		"sigv4.region":        {"sns_configs", "topic_arn: a\nsigv4: {access_key: a, secret_key: SECRET}"},
		"url_file":            {"webhook_configs", "url_file: /etc/passwd"},
		"credentials_file":    {"webhook_configs", "url: http://a.example/SECRET\nhttp_config: {authorization: {credentials_file: /etc/passwd}}"},
		"ca_file":             {"webhook_configs", "url: http://a.example/SECRET\nhttp_config: {tls_config: {ca_file: /etc/passwd}}"},
		"client_secret_file": {"webhook_configs", "url: http://a.example/SECRET\n" +
			"http_config: {oauth2: {client_id: c, client_secret_file: /etc/passwd, token_url: 'http://a.example'}}"},
		"files":                   {"webhook_configs", "url: http://a.example/SECRET\nhttp_config: {http_headers: {X-A: {files: [/etc/passwd]}}}"},
		"bot_token_file":          {"telegram_configs", "bot_token_file: /etc/passwd\nchat_id: 1"},
		"chat_id_file":            {"telegram_configs", "bot_token: SECRET\nchat_id_file: /etc/passwd"},
		"routing_key_file":        {"pagerduty_configs", "routing_key_file: /etc/passwd"},
		"proxy_from_environment":  {"webhook_configs", "url: http://a.example/SECRET\nhttp_config: {proxy_from_environment: true}"},
		"proxy_from_environment ": {"webhook_configs", "url: http://a.example/SECRET\nhttp_config: {oauth2: {client_id: c, client_secret: SECRET, token_url: 'http://a.example', proxy_from_environment: true}}"},
		"no way to send mail":     {"email_configs", "to: a@b.example\nfrom: a@b.example\nsmarthost: smtp.example:25"},
		"not set up":              {"discord_app_configs", "connection: ops"},
	} {
		b := newBundle(t)
		_, err := b.receivers.Build(b.config(c.list, strings.ReplaceAll(c.entry, "SECRET", secret)), b.tmpl)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(words)) || !strings.Contains(err.Error(), `receiver "ops"`) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", words, err)
		}
	}
	b := newBundle(t, func(o *receivers.Options) { o.CABundle = true })
	if _, err := b.receivers.Build(b.config("sns_configs", "topic_arn: a\nsigv4: {region: r, access_key: a, secret_key: s}"), b.tmpl); err == nil {
		t.Error("SNS with AWS_CA_BUNDLE was built")
	}
	file := "url_file: /etc/tokiflow/url"
	own := newBundle(t, func(o *receivers.Options) { o.Files = true })
	if _, err := own.receivers.Build(own.config("webhook_configs", file), own.tmpl); err != nil {
		t.Errorf("the operator's own file: %v", err)
	}
}

// What a configuration says of redirects stays as it was written: it is shown to its owner.
func TestTheConfigurationIsNotChanged(t *testing.T) {
	b := newBundle(t)
	c := b.config("webhook_configs", "url: http://a.example/\nhttp_config: {follow_redirects: true}")
	b.integration(c)
	if !c.Alertmanager.Receivers[0].WebhookConfigs[0].HTTPConfig.FollowRedirects {
		t.Error("it was changed")
	}
}

func TestListsWithoutSecrets(t *testing.T) {
	b := newBundle(t)
	c := b.load("route: {receiver: ops}\nreceivers:\n- name: ops\n  webhook_configs: [{url: 'http://a.example/" + secret + "'}, {url: 'http://b.example', send_resolved: false}]\n- name: none\n")
	c.Entries = b.config("alertmanager_configs", "url: http://a.example").Entries
	got := fmt.Sprint(receivers.List(c))
	want := fmt.Sprint([]alert.Receiver{{Name: "ops", Integrations: []alert.Integration{
		{Name: "webhook[0]", Kind: "webhook", SendResolved: true}, {Name: "webhook[1]", Kind: "webhook"}, {Name: "alertmanager[0]", Kind: "alertmanager", SendResolved: true},
	}}, {Name: "none"}})
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// fakeDNS resolves names by answer (an IPv4 address) over UDP on loopback.
func fakeDNS(t testing.TB, answer func(name string) string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(dnsReply(buf[:n], answer), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// dnsReply answers a query of one question (RFC 1035, section 4).
func dnsReply(query []byte, answer func(string) string) []byte {
	var name strings.Builder
	at := 12
	for query[at] != 0 {
		length := int(query[at])
		name.Write(query[at+1 : at+1+length])
		name.WriteByte('.')
		at += 1 + length
	}
	reply := append([]byte{}, query[:2]...)
	reply = append(reply, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0)
	reply = append(reply, query[12:at+5]...)
	if binary.BigEndian.Uint16(query[at+1:]) != 1 { // type A
		return reply
	}
	reply[7] = 1
	reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
	return append(reply, net.ParseIP(answer(name.String())).To4()...)
}
