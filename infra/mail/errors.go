package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"unicode"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"github.com/tokiflow/tokiflow/core/mail"
)

// never is an error that trying again does not cure.
func never(format string, args ...any) error {
	return &mail.Error{Err: fmt.Errorf(format, args...)}
}

// failed says of an SMTP session's error whether to try again: what the server refuses for good (5xx), a certificate that does
// not hold and a login that cannot be made are not tried again; all else is.
func (s *smtpSender) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return &mail.Error{Retry: true, Err: fmt.Errorf("%s: %w", doing, context.Cause(ctx))}
	}
	if already, ok := errors.AsType[*mail.Error](err); ok {
		return already
	}
	e := &mail.Error{Retry: true, Code: codeOf(err), Err: fmt.Errorf("%s: %s", doing, printable(err.Error()))}
	switch {
	case e.Code >= 500 && e.Code <= 599:
		e.Retry = false
	case e.Code != 0:
	case isCertificate(err), errors.Is(err, smtp.ErrUnencrypted), errors.Is(err, smtp.ErrWrongHostname):
		e.Retry = false
	case s.refused != nil && s.refused(err):
		e.Retry = false
	}
	return e
}

func codeOf(err error) int {
	if sent, ok := errors.AsType[*gomail.SendError](err); ok {
		return sent.ErrorCode()
	}
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		return answer.Code
	}
	return 0
}

func isCertificate(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// printable is a server's text on one line, without control characters, 300 bytes of it at most.
func printable(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
