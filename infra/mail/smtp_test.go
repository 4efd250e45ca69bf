package mail_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	core "github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/infra/mail"
	"github.com/tokiflow/tokiflow/infra/mail/mailtest"
	"github.com/tokiflow/tokiflow/infra/safehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func senders(allowPrivate bool) *mail.Senders {
	return &mail.Senders{
		Dial: safehttp.DialContext(safehttp.Options{AllowPrivate: allowPrivate}), Hello: "client.test",
		Refused: func(err error) bool { return errors.Is(err, safehttp.ErrForbidden) },
	}
}

func note() core.Message {
	return core.Message{
		From: core.Address{Name: "Tokiflow", Address: "alerts@example.com"}, To: core.Address{Name: "Team", Address: "team@example.org"},
		Subject: "[missed] backup (db)", Text: "It is missed.\n", HTML: "<p>It is missed.</p>\n", ID: "1@example.com",
		Date: time.Date(2026, 11, 23, 2, 5, 0, 0, time.UTC),
	}
}

func send(t *testing.T, server core.Server, m core.Message) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return sendWith(ctx, t, server, m)
}

func sendWith(ctx context.Context, t *testing.T, server core.Server, m core.Message) error {
	t.Helper()
	s, err := senders(true).SMTP(server)
	if err != nil {
		t.Fatal(err)
	}
	return s.Send(ctx, m)
}

func on(s *mailtest.Server, security core.Security) core.Server {
	return core.Server{Host: s.Host, Port: s.Port, Security: security, CA: s.CA}
}

func TestEncryption(t *testing.T) {
	for _, c := range []struct {
		name     string
		server   mailtest.Options
		security core.Security
		want     string // tls, clear, or part of the error
	}{
		{"STARTTLS", mailtest.Options{TLS: true}, core.STARTTLS, "tls"},
		{"the default is STARTTLS", mailtest.Options{TLS: true}, "", "tls"},
		{"STARTTLS that is not offered", mailtest.Options{}, core.STARTTLS, "does not support STARTTLS"},
		{"opportunistic", mailtest.Options{TLS: true}, core.Opportunistic, "tls"},
		{"opportunistic, not offered", mailtest.Options{}, core.Opportunistic, "clear"},
		{"none", mailtest.Options{TLS: true}, core.Plain, "clear"},
		{"implicit", mailtest.Options{Implicit: true}, core.Implicit, "tls"},
		{"unknown", mailtest.Options{}, "rot13", "no way to encrypt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mailtest.Start(t, c.server)
			err := send(t, on(s, c.security), note())
			if c.want != "tls" && c.want != "clear" {
				if err == nil || !strings.Contains(err.Error(), c.want) || len(s.Taken()) != 0 {
					t.Fatalf("got %v, %d taken", err, len(s.Taken()))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Taken(); len(got) != 1 || got[0].TLS != (c.want == "tls") || got[0].To != "team@example.org" || got[0].From != "alerts@example.com" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	for _, security := range []core.Security{core.STARTTLS, core.Implicit} {
		s := mailtest.Start(t, mailtest.Options{TLS: security == core.STARTTLS, Implicit: security == core.Implicit})
		unknown := on(s, security)
		unknown.CA = nil
		other := on(s, security)
		other.ServerName = "other.test"
		for name, server := range map[string]core.Server{"an unknown authority": unknown, "another name": other} {
			if err := send(t, server, note()); err == nil || core.CanRetry(err) {
				t.Errorf("%s, %s: got %v", security, name, err)
			}
		}
		unknown.InsecureSkipVerify = true
		if err := send(t, unknown, note()); err != nil {
			t.Errorf("%s, not verified: %v", security, err)
		}
		if n := len(s.Taken()); n != 1 {
			t.Errorf("%s: %d taken", security, n)
		}
	}
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		name   string
		offers string
		edit   func(*core.Server)
		want   string // part of the error; empty: logged in
	}{
		{"PLAIN", "PLAIN", nil, ""},
		{"LOGIN", "LOGIN", nil, ""},
		{"CRAM-MD5", "CRAM-MD5", nil, ""},
		{"CRAM-MD5 with a secret of its own", "CRAM-MD5", func(s *core.Server) { s.Secret, s.Password = "pass", "" }, ""},
		{"the first that fits", "CRAM-MD5 LOGIN PLAIN", func(s *core.Server) { s.Secret = "wrong" }, ""},
		{"XOAUTH2", "PLAIN XOAUTH2", func(s *core.Server) { s.Mechanism = core.AuthXOAUTH2 }, ""},
		{"XOAUTH2 is not guessed", "XOAUTH2", nil, "no way to log in that fits"},
		{"the way that is wanted", "PLAIN CRAM-MD5", func(s *core.Server) { s.Mechanism, s.Secret = core.AuthCRAMMD5, "wrong" }, "535"},
		{"the way that is wanted is not offered", "PLAIN", func(s *core.Server) { s.Mechanism = core.AuthLogin }, "no way to log in that fits"},
		{"nothing offered", "", nil, "no way to log in that fits"},
		{"wrong password", "PLAIN", func(s *core.Server) { s.Password = "wrong" }, "535"},
		{"wrong LOGIN", "LOGIN", func(s *core.Server) { s.Password = "wrong" }, "535"},
		{"wrong token", "XOAUTH2", func(s *core.Server) { s.Mechanism, s.Password = core.AuthXOAUTH2, "wrong" }, "535"},
		{"nobody", "PLAIN", func(s *core.Server) { s.Username = "" }, "502"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mailtest.Start(t, mailtest.Options{TLS: true, Auth: strings.Fields(c.offers)})
			server := on(s, core.STARTTLS)
			server.Username, server.Password = "user", "pass"
			if c.edit != nil {
				c.edit(&server)
			}
			err := send(t, server, note())
			if c.want == "" {
				if got := s.Taken(); err != nil || len(got) != 1 || got[0].User != "user" {
					t.Errorf("got %v, %+v", err, got)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || core.CanRetry(err) || len(s.Taken()) != 0 {
				t.Errorf("got %v (retry %t), %d taken", err, core.CanRetry(err), len(s.Taken()))
			}
			for _, secret := range []string{"wrong", "AHVzZXIA"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("a secret in %v", err)
				}
			}
		})
	}
}

func TestNoPasswordInTheClear(t *testing.T) {
	s := mailtest.Start(t, mailtest.Options{Auth: []string{"PLAIN", "LOGIN", "XOAUTH2"}})
	toHost := func(host string, way core.Mechanism) error {
		dialer := net.Dialer{}
		all := &mail.Senders{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, net.JoinHostPort(s.Host, fmt.Sprint(s.Port)))
		}}
		sender, err := all.SMTP(core.Server{Host: host, Port: 25, Security: core.Plain, Username: "user", Password: "pass", Mechanism: way})
		if err != nil {
			t.Fatal(err)
		}
		return sender.Send(t.Context(), note())
	}
	for _, way := range []core.Mechanism{core.AnyMechanism, core.AuthPlain, core.AuthLogin, core.AuthXOAUTH2} {
		if err := toHost("mail.example.com", way); err == nil || !strings.Contains(err.Error(), "not encrypted") || core.CanRetry(err) {
			t.Errorf("%q: got %v", way, err)
		}
		if err := toHost("localhost", way); err != nil {
			t.Errorf("%q, to this machine: %v", way, err)
		}
	}
}

// TestAnswers is the table of which answers are tried again.
func TestAnswers(t *testing.T) {
	for _, code := range []int{421, 450, 451, 452, 454, 500, 501, 502, 503, 530, 535, 550, 551, 552, 553, 554} {
		for _, at := range []string{"MAIL", "RCPT", "DATA"} {
			refuse := mailtest.Answer(code, "not\u001b[31m now")
			o := mailtest.Options{}
			switch at {
			case "MAIL":
				o.AtMail = func(string) error { return refuse }
			case "RCPT":
				o.AtRcpt = func(string) error { return refuse }
			case "DATA":
				o.AtData = func(string, string) error { return refuse }
			}
			s := mailtest.Start(t, o)
			err := send(t, on(s, core.Plain), note())
			e, ok := errors.AsType[*core.Error](err)
			if !ok || e.Code != code || e.Retry != (code < 500) {
				t.Errorf("%d at %s: got %+v", code, at, err)
				continue
			}
			if !strings.Contains(err.Error(), fmt.Sprint(code)) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%d at %s: the error says %q", code, at, err)
			}
			if len(s.Taken()) != 0 {
				t.Errorf("%d at %s: the message was taken", code, at)
			}
		}
	}
}

func TestUnreachable(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	if err := send(t, core.Server{Host: "127.0.0.1", Port: port, Security: core.Plain}, note()); !core.CanRetry(err) {
		t.Errorf("a closed port: %v", err)
	}
	sender, err := senders(false).SMTP(core.Server{Host: "127.0.0.1", Port: port})
	if err != nil {
		t.Fatal(err)
	}
	err = sender.Send(t.Context(), note())
	if err == nil || core.CanRetry(err) || !strings.Contains(err.Error(), "not a public address") {
		t.Errorf("a private address: %v", err)
	}
}

// talk is a server that plays a script: what it says, where a line of the client comes between.
func talk(t *testing.T, play func(say func(string), hear func() string, conn net.Conn)) core.Server {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			lines := bufio.NewReader(conn)
			play(func(s string) { _, _ = fmt.Fprintf(conn, "%s\r\n", s) }, func() string { line, _ := lines.ReadString('\n'); return line }, conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return core.Server{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, Security: core.Plain}
}

// upToData leads a client up to the message.
func upToData(say func(string), hear func() string) {
	say("220 mail.test")
	hear()
	say("250 mail.test")
	hear()
	say("250 go on")
	hear()
	say("250 go on")
	hear()
	say("354 go on")
}

func TestServersThatBreakOff(t *testing.T) {
	whole := func(hear func() string) bool {
		for {
			switch hear() {
			case ".\r\n":
				return true
			case "":
				return false
			}
		}
	}
	t.Run("at once", func(t *testing.T) {
		err := send(t, talk(t, func(func(string), func() string, net.Conn) {}), note())
		if !core.CanRetry(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("busy", func(t *testing.T) {
		err := send(t, talk(t, func(say func(string), _ func() string, _ net.Conn) { say("421 too busy") }), note())
		if e, ok := errors.AsType[*core.Error](err); !ok || !e.Retry || e.Code != 421 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not for you", func(t *testing.T) {
		err := send(t, talk(t, func(say func(string), _ func() string, _ net.Conn) { say("554 go away") }), note())
		if e, ok := errors.AsType[*core.Error](err); !ok || e.Retry || e.Code != 554 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("in the middle of the message", func(t *testing.T) {
		big := note()
		big.Text = strings.Repeat("a line of text\n", 1<<20)
		ended := make(chan bool, 1)
		err := send(t, talk(t, func(say func(string), hear func() string, conn net.Conn) {
			upToData(say, hear)
			hear()
			_ = conn.(*net.TCPConn).SetLinger(0)
			ended <- false
		}), big)
		if !core.CanRetry(err) || <-ended {
			t.Errorf("got %v", err)
		}
	})
	t.Run("before it said whether it took it", func(t *testing.T) {
		if err := send(t, talk(t, func(say func(string), hear func() string, _ net.Conn) { upToData(say, hear); whole(hear) }), note()); !core.CanRetry(err) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("after it took it", func(t *testing.T) {
		if err := send(t, talk(t, func(say func(string), hear func() string, _ net.Conn) {
			upToData(say, hear)
			whole(hear)
			say("250 taken")
		}), note()); err != nil {
			t.Errorf("it was taken, and yet: %v", err)
		}
	})
}

func TestASlowServerIsLeftWithTheContext(t *testing.T) {
	for name, stage := range map[string]int{"before the greeting": 0, "in the session": 1, "with the message": 2} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			half := make(chan string, 1)
			server := talk(t, func(say func(string), hear func() string, conn net.Conn) {
				switch stage {
				case 1:
					say("220 mail.test")
					hear()
				case 2:
					upToData(say, hear)
				}
				cancel() // while the client waits, or writes
				var rest strings.Builder
				for line := hear(); line != ""; line = hear() {
					rest.WriteString(line)
				}
				half <- rest.String()
			})
			big := note()
			big.Text = strings.Repeat("a line of text\n", 1<<20)
			err := sendWith(ctx, t, server, big)
			if !core.CanRetry(err) || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if strings.HasSuffix(<-half, "\r\n.\r\n") {
				t.Error("half a message was ended as if it were whole")
			}
		})
	}
}
