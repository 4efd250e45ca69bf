package mail

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tokiflow/tokiflow/core/mail"
)

// ParseURL reads a server as a flag has it: smtp://user:password@host:port or smtps:// with the same, where smtp asks for STARTTLS
// and smtps is encrypted from the first byte. The ports are 587 and 465 where none is given. Parameters after a ? are
//
//	tls=starttls|opportunistic|none   of smtp
//	auth=plain|login|cram-md5|xoauth2 the only way to log in; xoauth2 takes the password for an access token
//	hello=NAME                        what the client calls itself
//	server_name=NAME                  whom the certificate must name
//
// The error does not hold the URL, which has a secret in it.
func ParseURL(text string) (mail.Server, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return mail.Server{}, errors.New("must be smtp://user:password@host:port or smtps://user:password@host:port, " +
			"with what is special in the password written as %XX")
	}
	s := mail.Server{Host: u.Hostname(), Username: u.User.Username()}
	s.Password, _ = u.User.Password()
	switch u.Scheme {
	case "smtp":
		s.Security, s.Port = mail.STARTTLS, 587
	case "smtps":
		s.Security, s.Port = mail.Implicit, 465
	default:
		return mail.Server{}, errors.New("must begin with smtp:// or smtps://")
	}
	if p := u.Port(); p != "" {
		if s.Port, err = strconv.Atoi(p); err != nil || s.Port < 1 || s.Port > 65535 {
			return mail.Server{}, errors.New("the port must be 1 to 65535")
		}
	}
	if strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
		return mail.Server{}, errors.New("must have no path: what is special in the password is written as %XX")
	}
	if s.Username != "" && s.Password == "" {
		return mail.Server{}, errors.New("has a user without a password")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return mail.Server{}, errors.New("its parameters cannot be read")
	}
	return parameters(s, query)
}

func parameters(s mail.Server, query url.Values) (mail.Server, error) {
	for name, values := range query {
		if len(values) != 1 || values[0] == "" {
			return mail.Server{}, fmt.Errorf("the parameter %s must be given once, with a value", name)
		}
		value := values[0]
		switch name {
		case "tls":
			way := mail.Security(value)
			if s.Security == mail.Implicit || !slices.Contains([]mail.Security{mail.STARTTLS, mail.Opportunistic, mail.Plain}, way) {
				return mail.Server{}, errors.New("the parameter tls must be starttls, opportunistic or none, and belongs to smtp://")
			}
			s.Security = way
		case "auth":
			s.Mechanism = mail.Mechanism(value)
			if !slices.Contains([]mail.Mechanism{mail.AuthPlain, mail.AuthLogin, mail.AuthCRAMMD5, mail.AuthXOAUTH2}, s.Mechanism) {
				return mail.Server{}, errors.New("the parameter auth must be plain, login, cram-md5 or xoauth2")
			}
		case "hello":
			s.Hello = value
		case "server_name":
			s.ServerName = value
		default:
			return mail.Server{}, fmt.Errorf("there is no parameter %s; there are tls, auth, hello and server_name", name)
		}
	}
	return s, nil
}
