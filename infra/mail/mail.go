// Package mail sends e-mail: over SMTP with go-mail, or by Resend's HTTP API. One message goes to one recipient. What a
// message says is checked here once more, so that no text can become a header or a command: addresses are parsed, and a line break
// in what belongs on one line is refused.
package mail

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/tokiflow/tokiflow/core/mail"
)

// DialFunc connects over TCP. It decides which addresses may be reached.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Senders makes senders that reach what its dialer and its client reach. Safe for concurrent use.
type Senders struct {
	Dial   DialFunc
	Client *http.Client // of Resend's API; it must not follow redirects
	// Refused tells an address that is not dialled at all from one that cannot be reached now; nil: none is.
	Refused func(error) bool
	// Hello is what clients call themselves where the server's entry does not say; empty: the machine's name.
	Hello string
	// ResendURL is the address of Resend's API; empty: its own.
	ResendURL string
}

// SMTP makes a sender of a server. It does no I/O.
func (s *Senders) SMTP(server mail.Server) (mail.Sender, error) {
	if s.Dial == nil {
		return nil, errors.New("mail: no dialer")
	}
	return newSMTP(server, s)
}

// Resend makes a sender of an API key.
func (s *Senders) Resend(apiKey string) mail.Sender { return newResend(apiKey, s) }
