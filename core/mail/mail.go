// Package mail names what is sent by e-mail and through what. How it is sent is infra/mail's business, what is said in it
// that of whoever writes it.
package mail

import (
	"context"
	"errors"
	"time"
)

// Sender sends messages. Safe for concurrent use.
type Sender interface {
	// Send returns nil when the message was taken. Its error is free of secrets; CanRetry tells whether to try it again.
	Send(ctx context.Context, m Message) error
}

// Address is one mailbox. Its text is checked by whoever sends.
type Address struct {
	Name    string // may be empty
	Address string // local@domain; the domain may be in Unicode
}

// Message is one message to one recipient.
type Message struct {
	From, To  Address
	Subject   string
	Text      string // plain; empty: none
	HTML      string // empty: none
	Date      time.Time
	ID        string // of the message for ever, as local@domain: the same in every attempt. Empty: the sender makes one.
	InReplyTo string // the ID that it answers; empty: none
	// References are the IDs of the thread, the oldest first.
	References []string
	// Unsubscribe is where the recipient ends messages like this by one POST (RFC 8058); empty: nowhere.
	Unsubscribe string
	// Headers besides those that the fields above make.
	Headers map[string]string
}

// Security says how a connection to a server is encrypted.
type Security string

// The ways to encrypt a connection.
const (
	STARTTLS      Security = "starttls"      // asked for after the connection is made; without it nothing is sent
	Opportunistic Security = "opportunistic" // STARTTLS where the server has it
	Implicit      Security = "tls"           // from the first byte
	Plain         Security = "none"
)

// Mechanism is a way to log in.
type Mechanism string

// The ways to log in.
const (
	AnyMechanism Mechanism = "" // what the server offers and the credentials allow: PLAIN, LOGIN, CRAM-MD5
	AuthPlain    Mechanism = "plain"
	AuthLogin    Mechanism = "login"
	AuthCRAMMD5  Mechanism = "cram-md5"
	AuthXOAUTH2  Mechanism = "xoauth2" // Password is the access token
)

// Server is an SMTP server and how to speak to it.
type Server struct {
	Host     string
	Port     int
	Security Security
	Hello    string // what the client calls itself; empty: the default of whoever sends

	Mechanism Mechanism
	Username  string // empty: no login
	Password  string
	Secret    string // of CRAM-MD5; empty: Password
	Identity  string // of PLAIN: whom to act for; empty: Username

	ServerName         string // of the certificate; empty: Host
	CA                 []byte // PEM of the authorities to trust; empty: the system's
	Cert, Key          []byte // PEM of the client's certificate; empty: none
	InsecureSkipVerify bool
	MinVersion         uint16 // of TLS; 0: 1.2
}

// Error is why a message was not taken.
type Error struct {
	Code  int           // of the server's answer, SMTP or HTTP; 0: there was none
	Retry bool          // the same message may be taken later
	After time.Duration // how long the server asked to be left alone; 0: it did not
	Err   error
}

// Error is the cause's text.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// CanRetry tells whether a message that met this error may be taken later. An error of an unknown kind may.
func CanRetry(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Retry
	}
	return err != nil
}
