package redact

import "bytes"

// alphabet tells the bytes of a token from those around it.
type alphabet func(c byte) bool

func alnum(c byte) bool {
	lower := c | 0x20
	return c >= '0' && c <= '9' || lower >= 'a' && lower <= 'z'
}

func upperAlnum(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' }
func word(c byte) bool       { return alnum(c) || c == '_' }
func dashed(c byte) bool     { return alnum(c) || c == '-' }
func base64URL(c byte) bool  { return alnum(c) || c == '_' || c == '-' }
func base64(c byte) bool     { return alnum(c) || c == '+' || c == '/' || c == '=' }
func dotted(c byte) bool     { return base64URL(c) || c == '.' }
func path(c byte) bool       { return base64URL(c) || c == '/' }
func credential(c byte) bool { return dotted(c) || c == '~' || c == '+' || c == '/' || c == '=' }

// run returns the end of the bytes of the alphabet from i on.
func run(b []byte, i int, in alphabet) int {
	for i < len(b) && in(b[i]) {
		i++
	}
	return i
}

// begins reports that no byte of the alphabet stands before i. It keeps those rules linear that may refuse a long run: a run
// is looked at once.
func begins(b []byte, i int, in alphabet) bool { return i == 0 || !in(b[i-1]) }

// token is a maker's form: a head and at least least bytes of an alphabet.
type token struct {
	head  string
	least int
	in    alphabet
	keep  bool // the head is no secret and says what was here
}

// tokens are the forms whose head alone gives them away. Sources: the makers' documentation and the public rules of
// secret scanners; the least lengths lie below the real ones.
func tokens() []token {
	list := []token{
		{head: "github_pat_", least: 40, in: word},
		{head: "ya29.", least: 20, in: base64URL},
		{head: "AIza", least: 30, in: base64URL},
		{head: "SG.", least: 40, in: dotted},
		{head: "npm_", least: 30, in: alnum},
		{head: "pypi-", least: 30, in: base64URL},
		{head: "dop_v1_", least: 40, in: alnum},
		{head: "dckr_pat_", least: 20, in: base64URL},
		{head: "hf_", least: 30, in: alnum},
		{head: "hvs.", least: 24, in: base64URL},
		{head: "lin_api_", least: 30, in: alnum},
		{head: "key-", least: 32, in: alnum},
		{head: "whsec_", least: 16, in: base64},
		{head: "tkf_", least: 40, in: alnum}, // our own API keys
		{head: "AGE-SECRET-KEY-1", least: 40, in: upperAlnum},
		{head: "hooks.slack.com/services/", least: 20, in: path, keep: true},
		{head: "discord.com/api/webhooks/", least: 20, in: path, keep: true},
		{head: "discordapp.com/api/webhooks/", least: 20, in: path, keep: true},
	}
	family := func(least int, in alphabet, heads ...string) {
		for _, head := range heads {
			list = append(list, token{head: head, least: least, in: in})
		}
	}
	family(16, upperAlnum, "AKIA", "ASIA", "ABIA", "ACCA")
	family(30, alnum, "ghp_", "gho_", "ghu_", "ghs_", "ghr_")
	family(20, base64URL, "glpat-", "glptt-", "gldt-", "glrt-", "glsa_")
	family(10, dashed, "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxc-", "xoxd-", "xapp-")
	family(16, alnum, "sk_live_", "sk_test_", "rk_live_", "rk_test_")
	family(32, alnum, "shpat_", "shpss_", "shpca_", "shppa_")
	return list
}

func (t token) rule() rule {
	return rule{head: t.head, find: func(b []byte, i int, cut bool) (from, to int) {
		if !t.keep && !begins(b, i, t.in) {
			return 0, 0
		}
		body := i + len(t.head)
		to = run(b, body, t.in)
		if to-body < t.least && (!cut || to != len(b)) {
			return 0, 0
		}
		if t.keep {
			return body, to
		}
		return i, to
	}}
}

// findOpenAI recognises "sk-" keys: long, and of letters and digits, unlike names with dashes.
func findOpenAI(b []byte, i int, cut bool) (from, to int) {
	if !begins(b, i, base64URL) {
		return 0, 0
	}
	to = run(b, i, base64URL)
	if cut && to == len(b) && to-i > 8 {
		return i, to
	}
	if to-i < 35 || !bytes.ContainsAny(b[i:to], "0123456789") || !bytes.ContainsAny(b[i:to], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		return 0, 0
	}
	return i, to
}

// findJWT recognises JSON web tokens: three parts with dots between them, the first of which is base64 of `{"`.
func findJWT(b []byte, i int, cut bool) (from, to int) {
	if !begins(b, i, dotted) {
		return 0, 0
	}
	to = run(b, i, dotted)
	if cut && to == len(b) && to-i > 8 {
		return i, to
	}
	if to-i < 30 || bytes.Count(b[i:to], []byte(".")) < 2 {
		return 0, 0
	}
	return i, to
}

// maxPEM is the length within which the end of a private key is looked for, in bytes.
const maxPEM = 16 << 10

// findPEM recognises private keys, from their first line to their last.
func findPEM(b []byte, i int, cut bool) (from, to int) {
	line := b[i:min(len(b), i+80)]
	const end = "PRIVATE KEY"
	at := bytes.Index(line, []byte(end))
	if at < 0 || bytes.IndexByte(line[:at], '\n') >= 0 {
		return 0, 0
	}
	body := i + at + len(end)
	window := b[body:min(len(b), body+maxPEM)]
	if last := bytes.Index(window, []byte("-----END")); last >= 0 {
		to = body + last + len("-----END")
		to = run(b, to, func(c byte) bool { return upperAlnum(c) || c == ' ' })
		return i, run(b, to, func(c byte) bool { return c == '-' })
	}
	if cut {
		return i, len(b)
	}
	return i, run(b, body, func(c byte) bool { return base64(c) || c == '-' || c == '\n' || c == '\r' || c == '\\' })
}

// findScheme recognises what follows "Bearer " and "Basic " where it looks like a credential and not like a word.
func findScheme(head string) func(b []byte, i int, cut bool) (from, to int) {
	return func(b []byte, i int, cut bool) (from, to int) {
		if !begins(b, i, word) {
			return 0, 0
		}
		from = run(b, i+len(head), func(c byte) bool { return c == ' ' })
		to = run(b, from, credential)
		if cut && to == len(b) {
			return from, to
		}
		if to-from < 8 || !random(b[from:to]) {
			return 0, 0
		}
		return from, to
	}
}

// random reports that s is not a word of a sentence: it has a digit, a sign, or a capital behind its first letter.
func random(s []byte) bool {
	for i, c := range s {
		if lower := c | 0x20; lower < 'a' || lower > 'z' {
			if c == '.' && i == len(s)-1 {
				continue // the end of a sentence
			}
			return true
		}
		if i > 0 && c >= 'A' && c <= 'Z' {
			return true
		}
	}
	return false
}

// findURL recognises the password in "scheme://user:password@host".
func findURL(b []byte, i int, cut bool) (from, to int) {
	start := i + len("://")
	end := run(b, start, func(c byte) bool {
		return c > ' ' && c != '/' && c != '?' && c != '#' && c != '"' && c != '\'' && c != '<' && c != '>' && c != '\\'
	})
	colon := bytes.IndexByte(b[start:end], ':')
	if colon < 0 {
		return 0, 0
	}
	from = start + colon + 1
	if at := bytes.LastIndexByte(b[from:end], '@'); at >= 0 {
		return from, from + at
	}
	if cut && end == len(b) {
		return from, end
	}
	return 0, 0
}

// allRules lists every rule. Rules of the same first byte are tried in this order.
func (r *Redactor) allRules() []rule {
	list := []rule{
		{head: "-----BEGIN ", find: findPEM},
		{head: "--", find: r.findFlag},
		{head: "://", find: findURL},
		{head: ":", find: r.findPair},
		{head: "=", find: r.findPair},
		{head: "eyJ", find: findJWT},
		{head: "sk-", find: findOpenAI},
	}
	for _, head := range []string{"Bearer ", "bearer ", "BEARER ", "Basic ", "basic ", "BASIC "} {
		list = append(list, rule{head: head, find: findScheme(head)})
	}
	for _, t := range tokens() {
		list = append(list, t.rule())
	}
	return list
}
