package redact

import (
	"bytes"
	"slices"
)

// maxName is the length of a name that is looked at, in bytes.
const maxName = 64

// secretNames are the endings, in lower case and without - _ and ., of names whose value is secret: DB_PASSWORD,
// accessToken, X-Api-Key. What only contains them is not: max_tokens, password_file.
func secretNames() []string {
	return []string{
		"password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "accesskey", "secretkey", "privatekey",
		"accountkey", "encryptionkey", "signingkey", "authkey", "credential", "credentials", "secretkeybase", "signature",
	}
}

// headerNames are names whose value goes on to the end of the line.
func headerNames() []string {
	return []string{"authorization", "proxyauthorization", "cookie", "setcookie"}
}

// findPair recognises the value of a name that announces a secret; i is at the ':' or '=' between them. It takes
// name=value, "name": "value", the same escaped within another string, name => value, and HTTP headers.
func (r *Redactor) findPair(b []byte, i int, _ bool) (from, to int) {
	name := nameBefore(b, i)
	if len(name) == 0 {
		return 0, 0
	}
	var buf [maxName]byte
	plain := normal(buf[:0], name)
	header := slices.Contains(headerNames(), string(plain))
	if !header && !r.secret(name, plain, b[i]) {
		return 0, 0
	}
	from = i + 1
	if from < len(b) && (b[from] == '>' || b[from] == '=') {
		from++ // => and ==
	}
	from = run(b, from, blank)
	if string(plain) == "pwd" && hasPrefixAt(b, from, "/") {
		return 0, 0 // the working directory
	}
	if hasPrefixAt(b, from, Mark) {
		return 0, 0 // somebody has been here
	}
	if to = valueEnd(b, &from, header); to <= from || saysNothing(b[from:to]) {
		return 0, 0
	}
	return from, to
}

// findFlag recognises --password value; i is at the dashes. --password=value is a pair.
func (r *Redactor) findFlag(b []byte, i int, _ bool) (from, to int) {
	start := i + 2
	end := run(b[:min(len(b), start+maxName)], start, base64URL)
	if i > 0 && b[i-1] == '-' || end == start || end == len(b) || !blank(b[end]) {
		return 0, 0
	}
	var buf [maxName]byte
	if !r.secret(b[start:end], normal(buf[:0], b[start:end]), ' ') {
		return 0, 0
	}
	from = run(b, end, blank)
	if from < len(b) && b[from] == '-' {
		return 0, 0 // the next flag
	}
	to = valueEnd(b, &from, false)
	return from, to
}

// secret reports that a name announces a secret. plain is its normal form, sign what follows it.
func (r *Redactor) secret(name, plain []byte, sign byte) bool {
	switch string(plain) {
	case "oldpwd":
		return false
	case "signature":
		return sign == '=' // of a URL; "signature: ok" is a result
	}
	if sign == '=' && len(name) > 5 && bytes.HasSuffix(plain, []byte("pass")) && (name[len(name)-5] == '_' || name[len(name)-5] == '-') {
		return true // DB_PASS=, but not "bypass=" or "pass: 12"
	}
	for _, ending := range r.names {
		if len(plain) >= len(ending) && string(plain[len(plain)-len(ending):]) == ending {
			return true
		}
	}
	return false
}

// nameBefore returns the name that ends before i, without the quotes and blanks in between. It looks back over at most
// maxName bytes and a few.
func nameBefore(b []byte, i int) []byte {
	end := i
	for end > 0 && i-end < 4 && blank(b[end-1]) {
		end--
	}
	if end > 0 && (b[end-1] == '"' || b[end-1] == '\'' || b[end-1] == '`') {
		end--
		if end > 0 && b[end-1] == '\\' {
			end--
		}
	}
	if end > 0 && b[end-1] == ']' { // config["password"] = …
		end--
		if end > 0 && (b[end-1] == '"' || b[end-1] == '\'') {
			end--
		}
	}
	start := end
	for start > 0 && end-start < maxName && dotted(b[start-1]) {
		start--
	}
	return b[start:end]
}

// normal appends a name in lower case, without separators and trailing digits.
func normal(dst, name []byte) []byte {
	for _, c := range name {
		switch {
		case c == '_' || c == '-' || c == '.':
		case c >= 'A' && c <= 'Z':
			dst = append(dst, c|0x20)
		default:
			dst = append(dst, c)
		}
	}
	for len(dst) > 0 && dst[len(dst)-1] >= '0' && dst[len(dst)-1] <= '9' {
		dst = dst[:len(dst)-1]
	}
	return dst
}

// valueEnd returns the end of the value that begins at *from, which it moves behind an opening quote.
func valueEnd(b []byte, from *int, header bool) int {
	i := *from
	escaped := i+1 < len(b) && b[i] == '\\' && (b[i+1] == '"' || b[i+1] == '\'')
	if escaped {
		i++
	}
	if i < len(b) && (b[i] == '"' || b[i] == '\'' || b[i] == '`') {
		*from = i + 1
		return quotedEnd(b, i+1, b[i], escaped)
	}
	if header {
		return run(b, i, func(c byte) bool { return c != '\n' && c != '\r' && c != '"' && c != '\'' })
	}
	return run(b, i, func(c byte) bool {
		switch c {
		case '&', ';', ',', '"', '\'', '`', '<', '>', ')', ']', '}', '\\':
			return false
		}
		return c > ' '
	})
}

// quotedEnd returns where the closing quote stands, or the end of the line.
func quotedEnd(b []byte, i int, quote byte, escaped bool) int {
	for ; i < len(b) && b[i] != '\n'; i++ {
		switch {
		case escaped && b[i] == '\\' && i+1 < len(b) && b[i+1] == quote:
			return i
		case !escaped && b[i] == '\\':
			i++ // whatever is escaped does not close
		case !escaped && b[i] == quote:
			return i
		}
	}
	return min(i, len(b))
}

// saysNothing reports that a value is no secret, but the word that there is none.
func saysNothing(v []byte) bool {
	switch string(v) {
	case "null", "nil", "none", "None", "true", "false", "undefined":
		return true
	}
	return false
}

func blank(c byte) bool { return c == ' ' || c == '\t' }
