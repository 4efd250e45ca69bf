package mail

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	netmail "net/mail"
	"os"
	"strconv"
	"strings"

	amconfig "github.com/prometheus/alertmanager/config"
	"github.com/prometheus/alertmanager/notify"
	"github.com/prometheus/alertmanager/template"
	commoncfg "github.com/prometheus/common/config"

	"github.com/tokiflow/tokiflow/alerting/config"
	"github.com/tokiflow/tokiflow/core/mail"
	"github.com/tokiflow/tokiflow/core/tenant"
)

// errUnsubscribed is told of an address, after its name.
var errUnsubscribed = errors.New("has unsubscribed: only the link of a new verification mail undoes it")

var errNoSender = errors.New("this server has no way to send mail of its own: give the entry a server or an API key, or start with --smtp-url or --resend-api-key")

// entry is what a configuration says of mails: an entry of email_configs or resend_configs.
type entry struct {
	kind, index string // of the integration: email, resend[0]
	to, from    string // templates, as are the next
	subject     string // empty: ours
	html, text  string
	onlyText    bool // no HTML is wanted
	headers     map[string]string
	sender      mail.Sender
	key         string // tells senders of one receiver apart
}

// email makes the notifier of an entry of email_configs.
func (m *Mailer) email(org tenant.OrgID, c *amconfig.EmailConfig, t *template.Template) (notify.Notifier, error) {
	e, err := m.emailEntry(c)
	if err != nil {
		return nil, err
	}
	return m.notifier(org, e, t)
}

func (m *Mailer) emailEntry(c *amconfig.EmailConfig) (entry, error) {
	e := entry{
		kind: "email", index: "email", to: c.To, from: c.From, subject: c.Headers["Subject"], html: c.HTML, text: c.Text,
		onlyText: c.HTML == "", headers: map[string]string{},
	}
	for name, value := range c.Headers {
		switch name {
		case "Subject", "To":
		case "From":
			e.from = value
		default:
			if err := checkHeader(name); err != nil {
				return e, fmt.Errorf("headers: %w", err)
			}
			e.headers[name] = value
		}
	}
	if e.from == config.InstallationFrom {
		e.from = ""
	}
	if c.Smarthost.Host == "" || c.Smarthost.Host == config.InstallationHost {
		return m.byInstallation(e), nil
	}
	server, err := serverOf(c)
	if err != nil {
		return e, err
	}
	e.key = keyOf(server.Host, strconv.Itoa(server.Port), server.Username)
	e.sender, err = m.o.SMTP(server)
	return e, err
}

// serverOf reads an entry's server. Files are read here: a tenant's configuration has none.
func serverOf(c *amconfig.EmailConfig) (mail.Server, error) {
	s := mail.Server{
		Host: c.Smarthost.Host, Hello: c.Hello, Security: mail.Opportunistic, Username: c.AuthUsername, Identity: c.AuthIdentity,
		Password: string(c.AuthPassword), Secret: string(c.AuthSecret),
	}
	var err error
	if s.Port, err = strconv.Atoi(c.Smarthost.Port); err != nil {
		return s, errors.New("smarthost: the port must be a number")
	}
	if c.RequireTLS == nil || *c.RequireTLS {
		s.Security = mail.STARTTLS
	}
	if c.ForceImplicitTLS != nil && *c.ForceImplicitTLS || c.ForceImplicitTLS == nil && s.Port == 465 {
		s.Security = mail.Implicit
	}
	for file, into := range map[string]*string{c.AuthPasswordFile: &s.Password, c.AuthSecretFile: &s.Secret} {
		if file == "" {
			continue
		}
		text, err := os.ReadFile(file) //nolint:gosec // the operator's own
		if err != nil {
			return s, fmt.Errorf("a file of the login cannot be read: %w", err)
		}
		*into = strings.TrimSpace(string(text))
	}
	return s, tlsOf(&s, c.TLSConfig)
}

func tlsOf(s *mail.Server, c *commoncfg.TLSConfig) error {
	if c == nil {
		return nil
	}
	s.ServerName, s.InsecureSkipVerify = c.ServerName, c.InsecureSkipVerify
	s.CA, s.Cert, s.Key = []byte(c.CA), []byte(c.Cert), []byte(c.Key)
	s.MinVersion = cmp.Or(uint16(c.MinVersion), tls.VersionTLS12)
	for file, into := range map[string]*[]byte{c.CAFile: &s.CA, c.CertFile: &s.Cert, c.KeyFile: &s.Key} {
		if file == "" {
			continue
		}
		text, err := os.ReadFile(file) //nolint:gosec // the operator's own
		if err != nil {
			return fmt.Errorf("tls_config: %w", err)
		}
		*into = text
	}
	return nil
}

// resend makes the notifier of an entry of resend_configs.
func (m *Mailer) resend(org tenant.OrgID, c config.Entry, t *template.Template) (notify.Notifier, error) {
	e, err := m.resendEntry(c)
	if err != nil {
		return nil, err
	}
	return m.notifier(org, e, t)
}

func (m *Mailer) resendEntry(c config.Entry) (entry, error) {
	r, err := readResend(c.Node)
	if err != nil {
		return entry{}, err
	}
	e := entry{
		kind: Name, index: fmt.Sprintf("%s[%d]", Name, c.Index), to: r.To, from: r.From, subject: r.Subject, html: r.HTML, text: r.Text,
		onlyText: r.HTML == "" && r.Text != "", headers: r.Headers,
	}
	if e.html == "" && !e.onlyText {
		e.html = ourHTML
	}
	if r.APIKey == "" {
		return m.byInstallation(e), nil
	}
	e.key, e.sender = keyOf(r.APIKey), m.o.Resend(r.APIKey)
	return e, nil
}

// byInstallation sends the entry's mails by the installation, in its name: an organisation must not speak as another by it. Who
// runs the installation may say what the address is.
func (m *Mailer) byInstallation(e entry) entry {
	e.sender = m.o.Sender
	if !m.o.Trusted {
		e.from = ""
	}
	return e
}

// keyOf names a sender without saying what it is.
func keyOf(parts ...string) string {
	sum := sha256.Sum256([]byte("tokiflow mail sender\x00" + strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:8])
}

// fromOf reads the sender's address.
func (m *Mailer) fromOf(text string) (mail.Address, error) {
	if strings.TrimSpace(text) == "" {
		if m.o.From.Address == "" {
			return mail.Address{}, errors.New("the entry has no from, and this server no address of its own: start with --smtp-from")
		}
		return m.o.From, nil
	}
	list, err := netmail.ParseAddressList(text)
	if err != nil || len(list) != 1 {
		return mail.Address{}, fmt.Errorf("from must be one address, as Team <team@example.com>: %.100q", text)
	}
	return mail.Address(*list[0]), nil
}
