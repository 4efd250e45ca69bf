package mail

import (
	"mime"
	netmail "net/mail"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
	"golang.org/x/net/idna"

	"github.com/tokiflow/tokiflow/core/mail"
)

// maxLine is how many bytes a header may have.
const maxLine = 8000

// checked is a message found good: what every sender sends.
type checked struct {
	mail.Message
	from, to *netmail.Address
	headers  []header // sorted; the message's own, and those that every mail of a machine has
}

type header struct{ name, value string }

// check reads the message. Its errors are for good.
func check(m mail.Message) (checked, error) {
	c := checked{Message: m}
	var err error
	if c.from, err = parseAddress(m.From); err != nil {
		return c, never("the sender's address %q: %w", m.From.Address, err)
	}
	if c.to, err = parseAddress(m.To); err != nil {
		return c, never("the address %q: %w", m.To.Address, err)
	}
	if m.Text == "" && m.HTML == "" {
		return c, never("the message is empty")
	}
	lines := []header{{"Subject", m.Subject}, {"the name of the sender", m.From.Name}, {"the name of the recipient", m.To.Name}, {"List-Unsubscribe", m.Unsubscribe}}
	for _, id := range append([]string{m.ID, m.InReplyTo}, m.References...) {
		if strings.ContainsAny(id, "<> \t") {
			return c, never("%q is no message ID", printable(id))
		}
		lines = append(lines, header{"Message-ID", id})
	}
	names := map[string]bool{}
	for name, value := range m.Headers {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if !validName(name) || names[name] || reserved(name) {
			return c, never("the header %q cannot be set", printable(name))
		}
		names[name] = true
		c.headers = append(c.headers, header{name, value})
	}
	for _, l := range append(lines, c.headers...) {
		if err := oneLine(l); err != nil {
			return c, err
		}
	}
	c.addOwn(names)
	slices.SortFunc(c.headers, func(a, b header) int { return strings.Compare(a.name, b.name) })
	return c, nil
}

// addOwn adds the headers that every mail of ours has: a machine wrote it, so no machine should answer.
func (c *checked) addOwn(given map[string]bool) {
	add := func(name, value string) {
		if value != "" && !given[name] {
			c.headers = append(c.headers, header{name, value})
		}
	}
	add("Auto-Submitted", "auto-generated")
	add("X-Auto-Response-Suppress", "All")
	if c.InReplyTo != "" {
		add("In-Reply-To", "<"+c.InReplyTo+">")
	}
	if len(c.References) > 0 {
		add("References", "<"+strings.Join(c.References, "> <")+">")
	}
	if c.Unsubscribe != "" {
		add("List-Unsubscribe", "<"+c.Unsubscribe+">")
		if strings.HasPrefix(c.Unsubscribe, "https://") { // RFC 8058 wants it so
			add("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
		}
	}
}

func validName(name string) bool {
	if name == "" || len(name) > 70 {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return false
		}
	}
	return true
}

// reserved are the headers that fields of a message make.
func reserved(name string) bool {
	return strings.HasPrefix(name, "Content-") || slices.Contains([]string{
		"From", "To", "Bcc", "Subject", "Date", "Message-Id", "In-Reply-To", "References", "Mime-Version", "List-Unsubscribe",
		"List-Unsubscribe-Post", "Return-Path", "Received", "Dkim-Signature", "Sender",
	}, name)
}

func oneLine(h header) error {
	if len(h.value) > maxLine {
		return never("%s is too long", h.name)
	}
	if !utf8.ValidString(h.value) {
		return never("%s is not UTF-8", h.name)
	}
	if strings.ContainsFunc(h.value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return never("%s has a line break or another control character in it", h.name)
	}
	return nil
}

// parseAddress checks an address as RFC 5322 has it, and writes its domain in ASCII.
func parseAddress(a mail.Address) (*netmail.Address, error) {
	if err := oneLine(header{"the address", a.Address}); err != nil {
		return nil, err
	}
	parsed, err := netmail.ParseAddress("<" + a.Address + ">")
	if err != nil {
		return nil, never("it cannot be read")
	}
	at := strings.LastIndexByte(parsed.Address, '@')
	domain := parsed.Address[at+1:]
	if strings.ContainsFunc(domain, func(r rune) bool { return r >= utf8.RuneSelf }) {
		if domain, err = idna.Lookup.ToASCII(domain); err != nil {
			return nil, never("its domain cannot be read")
		}
	}
	parsed.Name, parsed.Address = a.Name, parsed.Address[:at+1]+domain
	return parsed, nil
}

// build makes go-mail's message.
func (c checked) build() *gomail.Msg {
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(c.from)
	m.ToMailAddress(c.to)
	m.Subject(encoded(c.Subject))
	if !c.Date.IsZero() {
		m.SetDateWithValue(c.Date)
	}
	if c.ID != "" {
		m.SetMessageIDWithValue(c.ID)
	} else {
		m.SetMessageID()
	}
	for _, h := range c.headers {
		switch h.name {
		case "List-Unsubscribe", "List-Unsubscribe-Post", "In-Reply-To", "References":
			m.SetGenHeaderPreformatted(gomail.Header(h.name), h.value) // URLs and IDs are never encoded words
		default:
			m.SetGenHeader(gomail.Header(h.name), h.value)
		}
	}
	switch {
	case c.HTML == "":
		m.SetBodyString(gomail.TypeTextPlain, c.Text)
	case c.Text == "":
		m.SetBodyString(gomail.TypeTextHTML, c.HTML)
	default:
		m.SetBodyString(gomail.TypeTextPlain, c.Text)
		m.AddAlternativeString(gomail.TypeTextHTML, c.HTML)
	}
	return m
}

// encoded writes what is not ASCII as encoded words (RFC 2047), and leaves the rest to be read as it is: a long line of it would
// be broken right after the header's name. Space between two encoded words does not count, so neighbours are encoded as one.
func encoded(s string) string {
	plain := func(word string) bool { return mime.QEncoding.Encode("utf-8", word) == word }
	words := strings.Split(s, " ")
	var out []string
	for len(words) > 0 {
		n := 1
		for !plain(words[0]) && n < len(words) && !plain(words[n]) {
			n++
		}
		out = append(out, mime.QEncoding.Encode("utf-8", strings.Join(words[:n], " ")))
		words = words[n:]
	}
	return strings.Join(out, " ")
}
