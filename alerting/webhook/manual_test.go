//go:build unix

package webhook_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/alerting/webhook"
	"github.com/tokiflow/tokiflow/core/alert"
	"github.com/tokiflow/tokiflow/core/incident"
	"github.com/tokiflow/tokiflow/core/rule"
)

// manual returns the only block of code in this language of docs/webhooks.md.
func manual(t *testing.T, language string) string {
	t.Helper()
	return blocks(t, language, 1)[0]
}

// blocks returns the n blocks of code in this language of docs/webhooks.md.
func blocks(t *testing.T, language string, n int) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "webhooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1)
	if len(found) != n {
		t.Fatalf("%d blocks of %s in the manual, want %d", len(found), language, n)
	}
	var out []string
	for _, b := range found {
		out = append(out, string(b[1]))
	}
	return out
}

// The messages of the manual have the fields that are sent, no more and no less.
func TestTheMessagesOfTheManual(t *testing.T) {
	for i, message := range []any{new(alert.Message), new(rule.Message)} {
		block := blocks(t, "json", 2)[i]
		decoder := json.NewDecoder(strings.NewReader(block))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(message); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if err := json.Unmarshal([]byte(block), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(want, got) {
			t.Errorf("the manual says\n%v\nand sent is\n%v", want, got)
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "webhooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	for field := range reflect.TypeFor[incident.Evidence]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !bytes.Contains(text, []byte(`"`+name+`"`)) && !bytes.Contains(text, []byte("`"+name+"`")) {
			t.Errorf("the manual does not tell of the evidence %s", name)
		}
	}
}

// The receivers of the manual take what is sent, and refuse what was tampered with.
func TestTheReceiversOfTheManual(t *testing.T) {
	for _, c := range []struct{ language, file, tool string }{
		{"go", "main.go", "go"}, {"python", "receiver.py", "python3"}, {"js", "receiver.js", "node"},
	} {
		t.Run(c.language, func(t *testing.T) {
			t.Parallel()
			tool := lookUp(t, c.tool)
			file := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(file, []byte(manual(t, c.language)), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{file}
			if c.language == "go" {
				args = []string{"run", file}
			}
			url, said := serve(t, tool, args)
			answer, err := receiver(t, webhook.Config{URL: url, Secret: secret}).Notify(t.Context(), delivery())
			if err != nil || answer.StatusCode != 204 {
				t.Errorf("%+v, %v; it said: %s", answer, err, said())
			}
			want := delivery().MessageID() + " " + string(delivery().Payload)
			for deadline := time.Now().Add(30 * time.Second); !strings.Contains(said(), want); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) { // it says so after it has answered
					t.Fatalf("it said %q, want %q", said(), want)
				}
			}
			for name, forge := range forgeries() {
				bad := receiver(t, webhook.Config{URL: url, Secret: secret, Client: &http.Client{Transport: forger{forge}}})
				if answer, err := bad.Notify(t.Context(), delivery()); err == nil || answer.StatusCode != 401 {
					t.Errorf("%s: %+v, %v", name, answer, err)
				}
			}
			other := receiver(t, webhook.Config{URL: url, Secret: "whsec_" + strings.Repeat("QUFB", 8)})
			if answer, err := other.Notify(t.Context(), delivery()); err == nil || answer.StatusCode != 401 {
				t.Errorf("another secret: %+v, %v", answer, err)
			}
		})
	}
}

func TestTheShellOfTheManual(t *testing.T) {
	shell := lookUp(t, "sh")
	lookUp(t, "openssl")
	url, requests := listener(t, taken)
	if _, err := receiver(t, webhook.Config{URL: url, Secret: secret}).Notify(t.Context(), delivery()); err != nil {
		t.Fatal(err)
	}
	got := <-requests
	dir := t.TempDir()
	script, body := filepath.Join(dir, "verify.sh"), filepath.Join(dir, "body.json")
	run := func(content []byte, signature string) string {
		t.Helper()
		for name, b := range map[string][]byte{script: []byte(manual(t, "sh")), body: content} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), shell, script, got.header.Get("webhook-id"), got.header.Get("webhook-timestamp"), signature, body)
		cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret)
		out, err := cmd.CombinedOutput()
		if (err == nil) != (string(out) == "genuine\n") {
			t.Errorf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	signature := got.header.Get("webhook-signature")
	if said := run(got.body, signature); said != "genuine" {
		t.Errorf("it said %q", said)
	}
	if said := run(got.body, "v1,AAAA "+signature); said != "genuine" {
		t.Errorf("with two signatures it said %q", said)
	}
	if said := run(append(got.body, ' '), signature); said != "forged" {
		t.Errorf("of another body it said %q", said)
	}
}

// forger changes a request on its way.
type forger struct{ forge func(*http.Request) }

func (f forger) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	f.forge(r)
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
}

func forgeries() map[string]func(*http.Request) {
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	return map[string]func(*http.Request){
		"another id":            set("webhook-id", "msg_other"),
		"an old time":           set("webhook-timestamp", "1614265330"),
		"no time":               set("webhook-timestamp", "soon"),
		"an empty signature":    set("webhook-signature", ""),
		"another version":       set("webhook-signature", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
		"a signature of nought": set("webhook-signature", "v1,"),
		"an odd signature":      set("webhook-signature", "v1,é , ,,"),
		"no headers": func(r *http.Request) {
			for name := range r.Header {
				if strings.HasPrefix(name, "Webhook-") {
					r.Header.Del(name)
				}
			}
		},
		"another body": func(r *http.Request) {
			b := delivery().Payload
			b = slices.Concat(b[:len(b)-1], []byte(" "))
			r.Body = readCloser{bytes.NewReader(b)}
		},
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func lookUp(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("SKIPPED, NOT RUN: the manual's example needs %s on this machine", tool)
	}
	return path
}

// serve starts the program and waits until it listens. It is ended with the test, and so are its children.
func serve(t *testing.T, program string, args []string) (url string, said func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	_, port, _ := net.SplitHostPort(address)
	var out output
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret, "PORT="+port)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended //nolint:errcheck // only its end counts
	})
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return "http://" + address + "/", out.String
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("it ended: %v\n%s", err, out.String())
		default:
		}
	}
	t.Fatalf("it does not listen:\n%s", out.String())
	return "", nil
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
