package recipient

import (
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What an address may not have.
var (
	errAddress     = errors.New("must be an address, as team@example.com")
	errLongAddress = errors.New("must have 254 bytes at most, 64 of them before the @")
)

// Key is an address as it is stored and looked up: in lower case, without spaces around. The error is made to be shown.
func Key(address string) (string, error) {
	address = strings.ToLower(strings.TrimSpace(address))
	if len(address) > 254 {
		return "", errLongAddress
	}
	at := strings.LastIndexByte(address, '@')
	if at < 1 || !utf8.ValidString(address) {
		return "", errAddress
	}
	local, domain := address[:at], address[at+1:]
	if len(local) > 64 {
		return "", errLongAddress
	}
	if !isDotted(local) || !isDotted(domain) || strings.ContainsAny(domain, "!#$%&'*+/=?^_`{|}~") {
		return "", errAddress
	}
	for label := range strings.SplitSeq(domain, ".") {
		if strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") || len(label) > 63 {
			return "", errAddress
		}
	}
	return address, nil
}

// isDotted reports whether it is words of plain characters with dots between them: what mail servers take without quotes.
func isDotted(s string) bool {
	for word := range strings.SplitSeq(s, ".") {
		if word == "" {
			return false
		}
		for _, r := range word {
			if r < utf8.RuneSelf && !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~", r) {
				return false
			}
			if r >= utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
				return false
			}
		}
	}
	return true
}

// NextAsk is when a person may have the next verification mail sent, after so many, the last of them at the instant: 10 minutes
// later, and each time twice as late, a day at most.
func NextAsk(asked time.Time, asks int) time.Time {
	if asks == 0 || asked.IsZero() {
		return time.Time{}
	}
	wait := 10 * time.Minute
	for range min(asks-1, 8) {
		wait *= 2
	}
	return asked.Add(min(wait, 24*time.Hour))
}

// Backoff is how long to wait after so many tries that failed: a minute, and each time twice as long, an hour at most.
func Backoff(tries int) time.Duration {
	wait := time.Minute
	for range min(max(tries-1, 0), 6) {
		wait *= 2
	}
	return min(wait, time.Hour)
}
