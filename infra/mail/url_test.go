package mail_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	core "github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/infra/mail"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct {
		url  string
		want core.Server
	}{
		{"smtp://mail.example.com", core.Server{Host: "mail.example.com", Port: 587, Security: core.STARTTLS}},
		{"smtps://mail.example.com/", core.Server{Host: "mail.example.com", Port: 465, Security: core.Implicit}},
		{"smtp://u%40example.com:p%2F%3A%40w@mail.example.com:2525?auth=login&hello=me.example.com", core.Server{
			Host: "mail.example.com", Port: 2525, Security: core.STARTTLS, Username: "u@example.com", Password: "p/:@w", Mechanism: core.AuthLogin, Hello: "me.example.com",
		}},
		{"smtp://localhost:25?tls=none", core.Server{Host: "localhost", Port: 25, Security: core.Plain}},
		{"smtp://[::1]:25?tls=opportunistic&server_name=mail.example.com", core.Server{
			Host: "::1", Port: 25, Security: core.Opportunistic, ServerName: "mail.example.com",
		}},
	} {
		got, err := mail.ParseURL(c.url)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", c.url, err, diff)
		}
	}
	for _, bad := range []string{
		"", "mail.example.com:25", "http://mail.example.com", "smtp://", "smtp://:25", "smtp://h:0", "smtp://h:99999", "smtp://h/path",
		"smtp://h?tls=rot13", "smtps://h?tls=none", "smtp://h?auth=ntlm", "smtp://h?what=1", "smtp://h?tls=none&tls=none", "smtp://h?hello=",
		"smtp://user@h", "smtp://u:s3cret/x@h", "smtp://u:s3cret#x@h", "smtp://u:s3cret%zz@h", "smtp:u:s3cret@h", "smtp://u:s3cret@h?%zz",
	} {
		if got, err := mail.ParseURL(bad); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: got %+v, %v", bad, got, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"smtp://u:p@h:25?tls=none", "smtps://h", "smtp://[::1]:1?auth=plain"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		server, err := mail.ParseURL(s)
		if err != nil {
			return
		}
		if server.Host == "" || server.Port < 1 || server.Port > 65535 || server.Security == "" {
			t.Errorf("%q gave %+v", s, server)
		}
	})
}
