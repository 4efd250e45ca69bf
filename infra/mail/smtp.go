package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/tokiflow/tokiflow/core/mail"
)

// longest is how long a message may take where its context says nothing.
const longest = time.Minute

// smtpSender sends over SMTP, a connection for each message.
type smtpSender struct {
	server  mail.Server
	tls     *tls.Config
	dial    DialFunc
	refused func(error) bool
}

func newSMTP(server mail.Server, s *Senders) (*smtpSender, error) {
	if server.Host == "" || server.Port < 1 || server.Port > 65535 {
		return nil, errors.New("mail: a server needs a host and a port")
	}
	if server.Hello == "" {
		server.Hello = s.Hello
	}
	if err := oneLine(header{"hello", server.Hello}); err != nil {
		return nil, err
	}
	if server.Security == "" {
		server.Security = mail.STARTTLS
	}
	config, err := tlsConfig(server)
	if err != nil {
		return nil, err
	}
	return &smtpSender{server: server, tls: config, dial: s.Dial, refused: s.Refused}, nil
}

func tlsConfig(server mail.Server) (*tls.Config, error) {
	c := &tls.Config{
		ServerName: server.ServerName, MinVersion: max(server.MinVersion, tls.VersionTLS12),
		InsecureSkipVerify: server.InsecureSkipVerify, //nolint:gosec // who configures the server asked for it
	}
	if c.ServerName == "" {
		c.ServerName = server.Host
	}
	if len(server.CA) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(server.CA) {
			return nil, errors.New("mail: the certificates of the authorities cannot be read")
		}
	}
	if len(server.Cert) > 0 || len(server.Key) > 0 {
		pair, err := tls.X509KeyPair(server.Cert, server.Key)
		if err != nil {
			return nil, errors.New("mail: the client's certificate and its key cannot be read") // without the cause: it may quote the key
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Send is mail.Sender's. A message that the server took counts as sent, whatever comes after.
func (s *smtpSender) Send(ctx context.Context, m mail.Message) error {
	c, err := check(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var conn *boundConn
	defer func() {
		if conn != nil {
			conn.end()
		}
	}()
	client, err := s.client(ctx, func(c *boundConn) { conn = c })
	if err != nil {
		return err
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return s.failed(ctx, "the mail server "+s.address(), err)
	}
	msg := c.build()
	if err := client.SendWithSMTPClient(session, msg); err != nil && !msg.IsDelivered() {
		// Without QUIT: after half a message it would end it, and half a message would be taken for a whole.
		return s.failed(ctx, "the mail server "+s.address(), err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_ = session.Quit() // it was taken: what comes after does not count
	return nil
}

func (s *smtpSender) address() string { return fmt.Sprintf("%s:%d", s.server.Host, s.server.Port) }

// client makes a client for one message; opened is told of its connection.
func (s *smtpSender) client(ctx context.Context, opened func(*boundConn)) (*gomail.Client, error) {
	until, _ := ctx.Deadline()
	options := []gomail.Option{
		gomail.WithPort(s.server.Port), gomail.WithoutNoop(), gomail.WithTLSConfig(s.tls), gomail.WithDialContextFunc(s.dialer(ctx, opened)),
		gomail.WithTimeout(max(time.Until(until), time.Millisecond)),
	}
	switch s.server.Security {
	case mail.Implicit:
		options = append(options, gomail.WithSSL())
	case mail.Opportunistic:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case mail.Plain:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	case mail.STARTTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	default:
		return nil, never("%q is no way to encrypt", s.server.Security)
	}
	if s.server.Hello != "" {
		options = append(options, gomail.WithHELO(s.server.Hello))
	}
	if s.server.Username != "" {
		options = append(options, gomail.WithSMTPAuthCustom(&login{server: s.server}))
	}
	client, err := gomail.NewClient(s.server.Host, options...)
	if err != nil {
		return nil, never("the mail server %s: %w", s.address(), err)
	}
	return client, nil
}

// dialer connects, and for implicit TLS shakes hands. The connection lives as long as the session's context, which is not that of
// the dial: go-mail ends it when the connection is made.
func (s *smtpSender) dialer(session context.Context, opened func(*boundConn)) gomail.DialContextFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := s.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn := bind(session, raw)
		opened(conn)
		if s.server.Security != mail.Implicit {
			return conn, nil
		}
		secure := tls.Client(conn, s.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		return secure, nil
	}
}

// login chooses a way to log in among those that the server offers. A password crosses an encrypted connection only, or none at
// all: to the machine itself.
type login struct {
	server mail.Server
	chosen smtp.Auth
}

// Start is smtp.Auth's.
func (l *login) Start(info *smtp.ServerInfo) (string, []byte, error) {
	s := l.server
	secret := s.Secret
	if secret == "" {
		secret = s.Password
	}
	clear := info.TLS || isLoopback(s.Host)
	ways := map[mail.Mechanism]struct {
		name   string
		usable bool
		make   func() smtp.Auth
	}{
		mail.AuthPlain:   {"PLAIN", clear && s.Password != "", func() smtp.Auth { return smtp.PlainAuth(s.Identity, s.Username, s.Password, s.Host, true) }},
		mail.AuthLogin:   {"LOGIN", clear && s.Password != "", func() smtp.Auth { return smtp.LoginAuth(s.Username, s.Password, s.Host, true) }},
		mail.AuthCRAMMD5: {"CRAM-MD5", secret != "", func() smtp.Auth { return smtp.CRAMMD5Auth(s.Username, secret) }},
		mail.AuthXOAUTH2: {"XOAUTH2", clear && s.Password != "", func() smtp.Auth { return smtp.XOAuth2Auth(s.Username, s.Password) }},
	}
	order := []mail.Mechanism{s.Mechanism}
	if s.Mechanism == mail.AnyMechanism {
		order = []mail.Mechanism{mail.AuthPlain, mail.AuthLogin, mail.AuthCRAMMD5}
	}
	for _, m := range order {
		way, known := ways[m]
		if !known || !way.usable || !offers(info.Auth, way.name) {
			continue
		}
		l.chosen = way.make()
		return l.chosen.Start(info)
	}
	if !clear && len(info.Auth) > 0 {
		return "", nil, never("the mail server %s: a password is not sent over a connection that is not encrypted", s.Host)
	}
	return "", nil, never("the mail server %s offers no way to log in that fits: it offers %q", s.Host, printable(fmt.Sprint(info.Auth)))
}

// Next is smtp.Auth's.
func (l *login) Next(fromServer []byte, more bool) ([]byte, error) {
	return l.chosen.Next(fromServer, more)
}
