package mail

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
)

// ours are headers that are made of the message; a configuration cannot say what is in them.
func ours() []string {
	return []string{
		"Bcc", "Date", "Message-Id", "In-Reply-To", "References", "Mime-Version", "Return-Path", "Received", "Dkim-Signature", "Sender",
		"List-Unsubscribe", "List-Unsubscribe-Post",
	}
}

// checkHeader says why a header of the name cannot be set.
func checkHeader(name string) error {
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return fmt.Errorf("%q is no name of a header", name)
		}
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if name == "" || len(name) > 70 {
		return fmt.Errorf("%q is no name of a header", name)
	}
	if slices.Contains(ours(), canonical) || strings.HasPrefix(canonical, "Content-") {
		return fmt.Errorf("%s is set by Tokiflow", canonical)
	}
	return nil
}
