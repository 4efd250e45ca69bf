package mail_test

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	core "github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/infra/mail"
	"github.com/tokiflow/tokiflow/infra/mail/mailtest"
)

// read takes a message apart as a mail client does.
func read(t testing.TB, data string) (header netmail.Header, parts map[string]string) {
	t.Helper()
	m, err := netmail.ReadMessage(strings.NewReader(data))
	if err != nil {
		t.Fatalf("%v in %q", err, data)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts = map[string]string{}
	if !strings.HasPrefix(kind, "multipart/") {
		if m.Header.Get("Content-Transfer-Encoding") != "quoted-printable" {
			t.Errorf("encoded as %s", m.Header.Get("Content-Transfer-Encoding"))
		}
		body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil {
			t.Fatal(err)
		}
		parts[kind] = string(body)
		return m.Header, parts
	}
	r := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return m.Header, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, params, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		body, err := io.ReadAll(p)
		if err != nil || !strings.EqualFold(params["charset"], "utf-8") {
			t.Fatal(err, params)
		}
		parts[kind] = string(body)
	}
}

func decoded(t testing.TB, h netmail.Header, name string) string {
	t.Helper()
	s, err := new(mime.WordDecoder).DecodeHeader(h.Get(name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sent(t *testing.T, m core.Message) mailtest.Taken {
	t.Helper()
	s := mailtest.Start(t, mailtest.Options{})
	if err := send(t, on(s, core.Plain), m); err != nil {
		t.Fatal(err)
	}
	return s.Taken()[0]
}

func TestAMessageReadsBackAsItWas(t *testing.T) {
	m := note()
	m.Subject = "[missed] Sicherung über Nacht — since 02:05 UTC · " + strings.Repeat("längere Überschrift ", 10) + "."
	m.From.Name, m.To.Name = "Tokiflow <alerts>, Inc.", "Bereitschaft Süd"
	m.Text = "Grüße\n.\n..\nFrom here\n" + strings.Repeat("long ", 300) + "\n\ttab = equals\r\n"
	m.HTML = "<p>Grüße\n.\n</p>" + strings.Repeat("x", 2000)
	m.InReplyTo, m.References = "0@example.com", []string{"root@example.com", "0@example.com"}
	m.Unsubscribe = "https://tokiflow.example.com/api/recipients/unsubscribe?t=" + strings.Repeat("A", 100)
	m.Headers = map[string]string{"Reply-To": "ops@example.com", "x-team": "Süd", "List-Id": "alerts <alerts.example.com>"}
	got := sent(t, m)
	h, parts := read(t, got.Data)
	for name, want := range map[string]string{
		"Subject": m.Subject, "Message-Id": "<1@example.com>", "In-Reply-To": "<0@example.com>", "References": "<root@example.com> <0@example.com>",
		"List-Unsubscribe": "<" + m.Unsubscribe + ">", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "Auto-Submitted": "auto-generated",
		"Reply-To": "ops@example.com", "X-Team": "Süd", "List-Id": "alerts <alerts.example.com>", "Mime-Version": "1.0",
		"Date": "Mon, 23 Nov 2026 02:05:00 +0000",
	} {
		if got := decoded(t, h, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]netmail.Address{"From": netmail.Address(m.From), "To": netmail.Address(m.To)} {
		list, err := h.AddressList(name)
		if err != nil || len(list) != 1 || *list[0] != want {
			t.Errorf("%s: got %v, %v", name, list, err)
		}
	}
	crlf := strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n")
	if diff := cmp.Diff(map[string]string{"text/plain": crlf.Replace(m.Text), "text/html": crlf.Replace(m.HTML)}, parts); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for line := range strings.SplitSeq(got.Data, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("a line of %d bytes: %q", len(line), line)
		}
	}
}

func TestSubjectsStandOnTheirFirstLine(t *testing.T) {
	for subject, want := range map[string]string{
		"[missed] backup (db) — since 02:05 UTC": "Subject: [missed] backup (db) =?utf-8?q?=E2=80=94?= since 02:05 UTC\r\n",
		"plain":                "Subject: plain\r\n",
		"Sicherung über Nacht": "Subject: Sicherung =?utf-8?q?=C3=BCber?= Nacht\r\n",
		"日本 語 x":               "Subject: =?utf-8?q?=E6=97=A5=E6=9C=AC_=E8=AA=9E?= x\r\n",
	} {
		m := note()
		m.Subject = subject
		got := sent(t, m)
		if h, _ := read(t, got.Data); decoded(t, h, "Subject") != subject || !strings.Contains(got.Data, want) {
			t.Errorf("%s: got %q in %q", subject, h.Get("Subject"), got.Data[:300])
		}
	}
}

func TestOnePartAlone(t *testing.T) {
	for kind, m := range map[string]core.Message{
		"text/plain": {Text: "only text\n"}, "text/html": {HTML: "<p>only HTML</p>\n"},
	} {
		m.From, m.To, m.Subject = note().From, note().To, "x"
		h, parts := read(t, sent(t, m).Data)
		if len(parts) != 1 || strings.TrimSpace(parts[kind]) != strings.TrimSpace(m.Text+m.HTML) {
			t.Errorf("%s: got %q", kind, parts)
		}
		if h.Get("Message-Id") == "" || h.Get("Date") == "" || h.Get("List-Unsubscribe") != "" {
			t.Errorf("%s: headers %v", kind, h)
		}
	}
}

func TestOneClickNeedsHTTPS(t *testing.T) {
	m := note()
	m.Unsubscribe = "http://localhost:8080/api/recipients/unsubscribe?t=x"
	h, _ := read(t, sent(t, m).Data)
	if h.Get("List-Unsubscribe") != "<"+m.Unsubscribe+">" || h.Get("List-Unsubscribe-Post") != "" {
		t.Errorf("got %v", h)
	}
}

// hostile are the ways to put more into a message than its fields.
func hostile() map[string]func(*core.Message) {
	return map[string]func(*core.Message){
		"subject, CRLF":              func(m *core.Message) { m.Subject = "x\r\nBcc: victim@example.com" },
		"subject, LF":                func(m *core.Message) { m.Subject = "x\nBcc: victim@example.com" },
		"subject, CR":                func(m *core.Message) { m.Subject = "x\rBcc: victim@example.com" },
		"subject, NUL":               func(m *core.Message) { m.Subject = "x\x00" },
		"subject, no UTF-8":          func(m *core.Message) { m.Subject = "x\xff" },
		"subject, endless":           func(m *core.Message) { m.Subject = strings.Repeat("x", 1<<20) },
		"name of the sender":         func(m *core.Message) { m.From.Name = "x\r\nBcc: victim@example.com" },
		"name of the recipient":      func(m *core.Message) { m.To.Name = "x\nBcc: victim@example.com" },
		"the sender":                 func(m *core.Message) { m.From.Address = "a@example.com\r\nRCPT TO:<victim@example.com>" },
		"the recipient":              func(m *core.Message) { m.To.Address = "a@example.com>\r\nRCPT TO:<victim@example.com" },
		"the recipient, parameters":  func(m *core.Message) { m.To.Address = "a@example.com> NOTIFY=SUCCESS <b@example.com" },
		"two recipients":             func(m *core.Message) { m.To.Address = "a@example.com, victim@example.com" },
		"a named recipient":          func(m *core.Message) { m.To.Address = "Victim <victim@example.com>" },
		"no recipient":               func(m *core.Message) { m.To.Address = "" },
		"no sender":                  func(m *core.Message) { m.From.Address = "" },
		"a domain that is none":      func(m *core.Message) { m.To.Address = "a@exa mple.com" },
		"a Unicode domain, none":     func(m *core.Message) { m.To.Address = "a@ex\u202eample.com" },
		"message ID":                 func(m *core.Message) { m.ID = "a@b>\r\nBcc: victim@example.com" },
		"message ID, more":           func(m *core.Message) { m.ID = "a@b> <c@d" },
		"in reply to":                func(m *core.Message) { m.InReplyTo = "a\nb@c" },
		"references":                 func(m *core.Message) { m.References = []string{"a@b", "c\r\nd@e"} },
		"unsubscribe":                func(m *core.Message) { m.Unsubscribe = "https://a/\r\nBcc: victim@example.com" },
		"a header's value":           func(m *core.Message) { m.Headers = map[string]string{"X-A": "b\r\nBcc: victim@example.com"} },
		"a header's name":            func(m *core.Message) { m.Headers = map[string]string{"X-A: b\r\nBcc": "victim@example.com"} },
		"a header's name with space": func(m *core.Message) { m.Headers = map[string]string{"X A": "b"} },
		"no name":                    func(m *core.Message) { m.Headers = map[string]string{"": "b"} },
		"Bcc":                        func(m *core.Message) { m.Headers = map[string]string{"bcc": "victim@example.com"} },
		"From":                       func(m *core.Message) { m.Headers = map[string]string{"FROM": "victim@example.com"} },
		"Content-Type":               func(m *core.Message) { m.Headers = map[string]string{"content-type": "text/html"} },
		"one twice":                  func(m *core.Message) { m.Headers = map[string]string{"X-a": "b", "x-A": "c"} },
		"nothing":                    func(m *core.Message) { m.Text, m.HTML = "", "" },
	}
}

func TestNothingBecomesAHeaderOrACommand(t *testing.T) {
	s := mailtest.Start(t, mailtest.Options{UTF8: true})
	for name, edit := range hostile() {
		m := note()
		edit(&m)
		if err := send(t, on(s, core.Plain), m); err == nil || core.CanRetry(err) {
			t.Errorf("%s: got %v", name, err)
		} else if strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("%s: the error has several lines: %q", name, err)
		}
	}
	if n := len(s.Taken()); n != 0 {
		t.Errorf("%d were sent", n)
	}
}

func TestInternationalAddresses(t *testing.T) {
	s := mailtest.Start(t, mailtest.Options{UTF8: true})
	m := note()
	m.To.Address = "team@bücher.example"
	if err := send(t, on(s, core.Plain), m); err != nil || s.Taken()[0].To != "team@xn--bcher-kva.example" {
		t.Errorf("a domain: %v, %+v", err, s.Taken())
	}
	m.To.Address = "grüße@bücher.example"
	if err := send(t, on(s, core.Plain), m); err != nil || s.Taken()[1].To != "grüße@xn--bcher-kva.example" {
		t.Errorf("a mailbox: %v, %+v", err, s.Taken())
	}
	plain := mailtest.Start(t, mailtest.Options{AtRcpt: func(string) error { return mailtest.Answer(553, "ASCII only") }})
	if err := send(t, on(plain, core.Plain), m); err == nil || core.CanRetry(err) {
		t.Errorf("a server without SMTPUTF8: %v", err)
	}
}

func TestServersThatCannotBe(t *testing.T) {
	for name, s := range map[string]core.Server{
		"no host": {Port: 25}, "no port": {Host: "a"}, "a port too high": {Host: "a", Port: 70000},
		"authorities": {Host: "a", Port: 25, CA: []byte("x")}, "certificate": {Host: "a", Port: 25, Cert: []byte("x"), Key: []byte("s3cret")},
		"hello": {Host: "a", Port: 25, Hello: "x\r\nMAIL FROM:<a>"},
	} {
		if _, err := senders(false).SMTP(s); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := (&mail.Senders{}).SMTP(core.Server{Host: "a", Port: 25}); err == nil {
		t.Error("a sender without a dialer")
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("subject", "name", "a@example.com", "text", "value")
	f.Add("x\r\nBcc: a@b", "=?utf-8?q?=0d=0a?=", "a@bücher.example", ".\r\n", "\t x")
	f.Add("é", "\"quoted\" <a@b>", "\"a b\"@example.com", "\x00", strings.Repeat("ü ", 200))
	s := mailtest.Start(f, mailtest.Options{UTF8: true})
	f.Fuzz(func(t *testing.T, subject, name, address, text, value string) {
		m := note()
		m.Subject, m.To = subject, core.Address{Name: name, Address: address}
		m.Text, m.Headers = text+"x", map[string]string{"X-Value": value}
		sender, err := senders(true).SMTP(on(s, core.Plain))
		if err != nil {
			t.Fatal(err)
		}
		before := len(s.Taken())
		if err := sender.Send(t.Context(), m); err != nil {
			return
		}
		got := s.Taken()[before]
		h, parts := read(t, got.Data)
		for key := range h {
			switch key {
			case "From", "To", "Subject", "Date", "Message-Id", "Mime-Version", "Content-Type", "Auto-Submitted", "X-Auto-Response-Suppress", "X-Value":
			default:
				t.Errorf("a header %s came out of %q", key, []string{subject, name, address, value})
			}
		}
		if len(h["To"]) != 1 || len(parts) != 2 {
			t.Errorf("got %v, %d parts", h["To"], len(parts))
		}
		if list, err := h.AddressList("To"); err != nil || len(list) != 1 {
			t.Errorf("To: %v, %v", list, err)
		}
		if !utf8.ValidString(decoded(t, h, "Subject")) {
			t.Errorf("the subject %q", h.Get("Subject"))
		}
	})
}
