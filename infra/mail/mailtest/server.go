// Package mailtest is a real SMTP server on loopback, for tests: it keeps what it takes, and answers as it is told to.
package mailtest

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // what CRAM-MD5 is made of
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Options of a Server. The zero value takes everything in the clear, without a login.
type Options struct {
	TLS      bool     // offers STARTTLS
	Implicit bool     // encrypted from the first byte
	Auth     []string // PLAIN, LOGIN, CRAM-MD5, XOAUTH2: offered, and one of them wanted, of user "user" with password "pass"
	UTF8     bool     // offers SMTPUTF8
	// AtMail, AtRcpt and AtData may refuse: with an error of Answer's, mostly. nil: they take it.
	AtMail func(from string) error
	AtRcpt func(to string) error
	AtData func(from, to string) error
}

// Taken is a message that the server took.
type Taken struct {
	From, To string
	Data     string // as it came
	User     string // who logged in; empty: nobody
	TLS      bool
}

// Server is a running server. It stops with its test.
type Server struct {
	Host string
	Port int
	CA   []byte // PEM of what its certificate is verified with

	t  testing.TB
	o  Options
	mu sync.Mutex
	// taken is signalled by more.
	taken []Taken
	more  chan struct{}
}

// Answer is an error that the client gets as this answer.
func Answer(code int, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: text}
}

// Start starts a server.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's own
	if err != nil {
		t.Fatal(err)
	}
	certified := httptest.NewTLSServer(nil)
	config := &tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS12}
	s := &Server{
		t: t, o: o, more: make(chan struct{}, 1), Host: "127.0.0.1",
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw}),
	}
	certified.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	s.Port, _ = strconv.Atoi(port)
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{server: s, conn: c}, nil }))
	server.Domain, server.AllowInsecureAuth, server.EnableSMTPUTF8 = "mail.test", true, o.UTF8
	server.ReadTimeout, server.WriteTimeout = 30*time.Second, 30*time.Second
	server.ErrorLog = quiet{}
	if o.TLS {
		server.TLSConfig = config
	}
	if o.Implicit {
		listener = tls.NewListener(listener, config)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // ends with Close
	}()
	t.Cleanup(func() {
		_ = listener.Close() // where Serve has not begun, server.Close does not know it
		_ = server.Close()
		<-done
	})
	return s
}

// Taken are the messages so far.
func (s *Server) Taken() []Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Taken(nil), s.taken...)
}

// Wait waits for n messages in all, and returns them.
func (s *Server) Wait(n int) []Taken {
	s.t.Helper()
	late := time.After(20 * time.Second)
	for {
		if taken := s.Taken(); len(taken) >= n {
			return taken
		}
		select {
		case <-s.more:
		case <-late:
			s.t.Fatalf("%d messages came, %d were waited for", len(s.Taken()), n)
		}
	}
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

type session struct {
	server         *Server
	conn           *smtp.Conn
	user, from, to string
}

// Reset is smtp.Session's.
func (s *session) Reset() { s.from, s.to = "", "" }

// Logout is smtp.Session's.
func (s *session) Logout() error { return nil }

// Mail is smtp.Session's.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if len(s.server.o.Auth) > 0 && s.user == "" {
		return smtp.ErrAuthRequired
	}
	s.from = from
	if s.server.o.AtMail != nil {
		return s.server.o.AtMail(from)
	}
	return nil
}

// Rcpt is smtp.Session's.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	if s.server.o.AtRcpt != nil {
		return s.server.o.AtRcpt(to)
	}
	return nil
}

// Data is smtp.Session's.
func (s *session) Data(r io.Reader) error {
	if s.server.o.AtData != nil {
		if err := s.server.o.AtData(s.from, s.to); err != nil {
			return err
		}
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, secure := s.conn.TLSConnectionState()
	if _, ok := s.conn.Conn().(*tls.Conn); ok {
		secure = true
	}
	s.server.mu.Lock()
	s.server.taken = append(s.server.taken, Taken{From: s.from, To: s.to, Data: string(data), User: s.user, TLS: secure})
	s.server.mu.Unlock()
	select {
	case s.server.more <- struct{}{}:
	default:
	}
	return nil
}

// AuthMechanisms is smtp.AuthSession's.
func (s *session) AuthMechanisms() []string { return s.server.o.Auth }

// Auth is smtp.AuthSession's.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	return &login{session: s, mechanism: mechanism}, nil
}

// login is the server's side of the mechanisms.
type login struct {
	session   *session
	mechanism string
	step      int
	user      string
}

const cramChallenge = "<1896.697170952@mail.test>"

// Next is sasl.Server's.
func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	l.step++
	var user, pass string
	switch l.mechanism {
	case "PLAIN":
		parts := strings.Split(string(response), "\x00")
		if len(parts) != 3 {
			return nil, true, smtp.ErrAuthFailed
		}
		user, pass = parts[1], parts[2]
	case "LOGIN":
		switch l.step {
		case 1:
			return []byte("Username:"), false, nil
		case 2:
			l.user = string(response)
			return []byte("Password:"), false, nil
		}
		user, pass = l.user, string(response)
	case "CRAM-MD5":
		if l.step == 1 {
			return []byte(cramChallenge), false, nil
		}
		name, sum, _ := strings.Cut(string(response), " ")
		mac := hmac.New(md5.New, []byte("pass"))
		mac.Write([]byte(cramChallenge))
		if sum == hex.EncodeToString(mac.Sum(nil)) {
			user, pass = name, "pass"
		}
	case "XOAUTH2":
		if string(response) == "user=user\x01auth=Bearer pass\x01\x01" {
			user, pass = "user", "pass"
		}
	}
	if user != "user" || pass != "pass" {
		return nil, true, smtp.ErrAuthFailed
	}
	l.session.user = user
	return nil, true, nil
}
