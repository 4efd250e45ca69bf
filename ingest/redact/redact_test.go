package redact

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// many returns n bytes that look random, without any rule's head in them.
func many(n int) string {
	const some = "q7Zt2Xv9Lm4Rc8Wb5Nj3Kd6"
	return strings.Repeat(some, n/len(some)+1)[:n]
}

func upper(n int) string { return strings.ToUpper(many(n)) }

func TestSecretsAreTakenOut(t *testing.T) {
	r := New()
	jwt := "eyJ" + many(20) + ".eyJ" + many(40) + "." + many(43)
	pem := "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n" + many(64) + "\n" + many(64) + "\n-----END RSA PRIVATE KEY-----"
	for _, c := range []struct{ name, in, want string }{
		{"AWS key id", "key AKIA" + upper(16) + " used", "key [redacted] used"},
		{"AWS session key id", "ASIA" + upper(16), "[redacted]"},
		{"AWS secret", "aws_secret_access_key = " + many(40), "aws_secret_access_key = [redacted]"},
		{"AWS environment", "AWS_SECRET_ACCESS_KEY=" + many(30) + "/+" + many(8) + "\nnext", "AWS_SECRET_ACCESS_KEY=[redacted]\nnext"},
		{"GitHub token", "remote: ghp_" + many(36) + ".", "remote: [redacted]."},
		{"GitHub fine-grained token", "github_pat_" + many(22) + "_" + many(59), "[redacted]"},
		{"GitHub token in a path", "/x/gho_" + many(36) + "/y", "/x/[redacted]/y"},
		{"GitLab token", "glpat-" + many(20), "[redacted]"},
		{"Slack bot token", "xoxb-123456789012-1234567890123-" + many(24), "[redacted]"},
		{"Slack webhook", "posting to https://hooks.slack.com/services/T0000/B0000/" + many(24), "posting to https://hooks.slack.com/services/[redacted]"},
		{"Discord webhook", "https://discord.com/api/webhooks/1234567890/" + many(60), "https://discord.com/api/webhooks/[redacted]"},
		{"Stripe key", "sk_live_" + many(24) + "\n", "[redacted]\n"},
		{"Stripe webhook secret", "whsec_" + many(32), "[redacted]"},
		{"Google API key", "?key=AIza" + many(35) + "&x=1", "?key=[redacted]&x=1"},
		{"SendGrid", "SG." + many(22) + "." + many(43), "[redacted]"},
		{"npm", "//registry/:_authToken=npm_" + many(36), "//registry/:_authToken=[redacted]"},
		{"OpenAI", "using sk-proj-" + many(48), "using [redacted]"},
		{"ours", "X-Api-Key: tkf_" + many(52), "X-Api-Key: [redacted]"},
		{"JWT", "got " + jwt + " back", "got [redacted] back"},
		{"private key", "a\n" + pem + "\nb", "a\n[redacted]\nb"},
		{"private key in JSON", `{"k":"` + strings.ReplaceAll(pem, "\n", `\n`) + `","b":1}`, `{"k":"[redacted]","b":1}`},
		{"private key without its end", "-----BEGIN PRIVATE KEY-----\n" + many(64) + "\n\n(done)", "[redacted](done)"},
		{"bearer", "curl: Bearer " + many(20) + " sent", "curl: Bearer [redacted] sent"},
		{"basic", "Basic dXNlcjpwYXNzd29yZA== sent", "Basic [redacted] sent"},
		{"authorization header", "> Authorization: token abc def\r\n> Host: x", "> Authorization: [redacted]\r\n> Host: x"},
		{"authorization header in a command", `curl -H "Authorization: Bearer abc" https://x`, `curl -H "Authorization: [redacted]" https://x`},
		{"authorization header in JSON", `{"authorization":"Digest a=b","x":1}`, `{"authorization":"[redacted]","x":1}`},
		{"cookie", "Set-Cookie: sid=abc; Path=/\nok", "Set-Cookie: [redacted]\nok"},
		{"URL", "postgres://app:p@ss@db:5432/x", "postgres://app:[redacted]@db:5432/x"},
		{"URL without a user", "redis://:hunter2@cache/0", "redis://:[redacted]@cache/0"},
		{"pair", "password=hunter2", "password=[redacted]"},
		{"pair with blanks", "Password : hunter2 ok", "Password : [redacted] ok"},
		{"pair in quotes", `DB_PASSWORD="hunter 2" next`, `DB_PASSWORD="[redacted]" next`},
		{"pair in JSON", `{"client_secret": "a\"b", "n": 1}`, `{"client_secret": "[redacted]", "n": 1}`},
		{"pair in JSON in JSON", `{"m":"{\"api_key\":\"abc\",\"n\":1}"}`, `{"m":"{\"api_key\":\"[redacted]\",\"n\":1}"}`},
		{"pair in YAML", "db:\n  passphrase: 'x y'\n  n: 1", "db:\n  passphrase: '[redacted]'\n  n: 1"},
		{"pair in a query", "GET /x?access_token=abc&n=1", "GET /x?access_token=[redacted]&n=1"},
		{"pair in Ruby", `:token=>"abc"`, `:token=>"[redacted]"`},
		{"pair in brackets", `config["password"] = "abc"`, `config["password"] = "[redacted]"`},
		{"connection string", "Server=db;Uid=sa;Pwd=abc;X=1", "Server=db;Uid=sa;Pwd=[redacted];X=1"},
		{"Azure", "AccountKey=" + many(30) + "==;EndpointSuffix=x", "AccountKey=[redacted];EndpointSuffix=x"},
		{"signed URL", "https://b/x?X-Amz-Signature=" + many(64) + "&y=1", "https://b/x?X-Amz-Signature=[redacted]&y=1"},
		{"numbered", "password2=abc", "password2=[redacted]"},
		{"DB_PASS", "DB_PASS=abc", "DB_PASS=[redacted]"},
		{"camel case", "accessToken: abc", "accessToken: [redacted]"},
		{"flag", "mysql --password hunter2 -h db", "mysql --password [redacted] -h db"},
		{"flag with =", "mysql --password=hunter2 -h db", "mysql --password=[redacted] -h db"},
		{"several", "token=a token=b", "token=[redacted] token=[redacted]"},
		{"in what is not text", "\x00\xff token=\xfe\xfd \xff", "\x00\xff token=[redacted] \xff"},
	} {
		got, n := r.Bytes([]byte(c.in), false)
		if string(got) != c.want {
			t.Errorf("%s: %q became %q, want %q", c.name, c.in, got, c.want)
		}
		if n == 0 {
			t.Errorf("%s: nothing counted", c.name)
		}
	}
}

func TestTheRestStays(t *testing.T) {
	r := New()
	for _, s := range []string{
		"",
		"OK",
		"backup finished: 123 files, 4.5 GB in 00:12:31",
		"pass: 12 fail: 0 skip: 3", "bypass=1",
		"max_tokens: 4096", "tokens=5", "token_count=5", "password_file=/run/secrets/db",
		"PWD=/home/app\nOLDPWD=/", "signature: ok",
		"password:", "password=", `"password": null`, "token: true", "password=[redacted]",
		"Basic authentication failed", "Bearer authentication is required.", "basic understanding",
		"https://example.org:8443/a?b=c@d", "git@github.com:tokiflow/tokiflow.git", "ssh://git@host/x", "http://localhost:80",
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		"AKIA", "AKIAshort", "ghp_short", "eyJ9.short", "sk-learn-and-many-other-words-with-dashes-in-it", "task-sk-1",
		"-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
		"-----BEGIN \nPRIVATE KEY", "------------------", "-- password", "--token -x", "--token", "--tokenise yes",
		"\x00\x01\xff\xfe",
		"curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
	} {
		in := []byte(s)
		got, n := r.Bytes(in, false)
		if string(got) != s || n != 0 {
			t.Errorf("%q became %q (%d found)", s, got, n)
		}
		if len(in) > 0 && &got[0] != &in[0] {
			t.Errorf("%q was copied", s)
		}
	}
}

// TestNoFirstHalfIsLeftAtACut cuts each secret behind its head, at every length: nothing of its inside may stay.
func TestNoFirstHalfIsLeftAtACut(t *testing.T) {
	r := New()
	for _, c := range []struct{ head, secret, tail string }{
		{"AKIA", upper(16), ""},
		{"ghp_", many(36), ""},
		{"xoxb-", many(30), ""},
		{"sk_live_", many(24), ""},
		{"-----BEGIN RSA PRIVATE KEY", "-----\n" + many(64), "\n-----END RSA PRIVATE KEY-----"},
		{"Bearer ", many(30), ""},
		{"postgres://app:", many(12), "@db/x"},
		{`password="`, many(12), `"`},
		{"token=", many(12), " "},
		{"--secret ", many(12), " "},
		{"Authorization: ", "token " + many(12), "\n"},
		{"https://hooks.slack.com/services/", many(30), ""},
	} {
		whole := "before " + c.head + c.secret + c.tail
		for n := len("before ") + len(c.head) + 1; n <= len(whole); n++ {
			got, _ := r.Bytes([]byte(whole[:n]), true)
			if bytes.Contains(got, []byte(c.secret[:min(len(c.secret), 2)])) {
				t.Errorf("%q, cut at %d, became %q", whole, n, got)
			}
		}
	}
	// These are known only by what follows the head, so a few bytes more must be there.
	for _, head := range []string{"eyJ", "sk-"} {
		whole := head + many(60)
		for n := 9; n <= len(whole); n++ {
			if got, _ := r.Bytes([]byte(whole[:n]), true); string(got) != Mark {
				t.Errorf("%q, cut, became %q", whole[:n], got)
			}
		}
	}
}

func TestJSONStaysJSON(t *testing.T) {
	r := New()
	in, err := json.Marshal(map[string]any{
		"password": "a\"b\\", "token": "x", "url": "https://u:p@h/", "log": "password=x\ntoken: y", "n": 1, "nested": map[string]string{"api_key": "k"},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, n := r.Bytes(in, false)
	if n < 5 {
		t.Errorf("%d found in %s", n, in)
	}
	if !json.Valid(out) {
		t.Errorf("no JSON any more: %s", out)
	}
}

func FuzzBytes(f *testing.F) {
	for _, s := range []string{"password=\"a", "eyJ.a.b", "-----BEGIN PRIVATE KEY-----", "a://b:c@d", "--token x", "\\\"token\\\":\\\"", "Bearer 1", "cookie:"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	r := New()
	f.Fuzz(func(t *testing.T, in []byte, cut bool) {
		before := bytes.Clone(in)
		out, n := r.Bytes(in, cut)
		if !bytes.Equal(in, before) {
			t.Fatalf("the input was changed: %q became %q", before, in)
		}
		if n == 0 && !bytes.Equal(in, out) {
			t.Fatalf("%q became %q, but nothing was counted", in, out)
		}
		if marks := bytes.Count(out, []byte(Mark)); marks < n {
			t.Fatalf("%q became %q: %d found, %d marks", in, out, n, marks)
		}
		// What is left around the marks stood in the input, in that order.
		rest := in
		for piece := range bytes.SplitSeq(out, []byte(Mark)) {
			at := bytes.Index(rest, piece)
			if at < 0 {
				t.Fatalf("%q became %q: %q is new", in, out, piece)
			}
			rest = rest[at+len(piece):]
		}
	})
}

func BenchmarkBytes(b *testing.B) {
	r := New()
	line := "2026-11-22T20:51:00Z INFO backup: copied 123 files to /var/backups/db in 00:12:31, 0 errors; sizes: a=1, b=2\n"
	for _, c := range []struct{ name, in string }{
		{"short", "backup ok, 123 files"},
		{"agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"},
		{"log100k", strings.Repeat(line, 100_000/len(line))},
		{"secrets100k", strings.Repeat("token=abc ", 10_000)},
	} {
		in := []byte(c.in)
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				r.Bytes(in, true)
			}
		})
	}
}
