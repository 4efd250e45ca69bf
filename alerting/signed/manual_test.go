//go:build unix

package signed_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/prometheus/alertmanager/notify"

	"github.com/tokiflow/tokiflow/alerting/outgoing"
	"github.com/tokiflow/tokiflow/alerting/signed"
)

// manual returns the only block of code in this language of docs/receivers.md.
func manual(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "receivers.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1)
	if len(found) != 1 {
		t.Fatalf("%d blocks of %s in the manual, want one", len(found), language)
	}
	return string(found[0][1])
}

// The message of the manual has the fields that are sent, no more and no less.
func TestTheMessageOfTheManual(t *testing.T) {
	block := manual(t, "json")
	var message signed.Message
	decoder := json.NewDecoder(strings.NewReader(block))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&message); err != nil {
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
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the manual (-), what is sent (+)\n%s", d)
	}
}

// send posts a notification to a receiver of the manual.
func send(t *testing.T, url string, change func(*http.Request)) error {
	t.Helper()
	ctx := notify.WithReceiverName(t.Context(), "ops")
	ctx = notify.WithGroupKey(ctx, "g")
	ctx = outgoing.WithMessageID(ctx, uuid.MustParse("8e0f2d7c-6c1b-5b56-9f53-0c1a2b3c4d5e"))
	_, err := sender(t, url, "", &http.Client{Transport: forger{change}}).Notify(ctx, alerts()...)
	return err
}

// forger changes a request on its way.
type forger struct{ change func(*http.Request) }

func (f forger) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	f.change(r)
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
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
			url, said := listening(t, tool, args)
			if err := send(t, url, func(*http.Request) {}); err != nil {
				t.Errorf("%v; it said: %s", err, said())
			}
			want := `msg_8e0f2d7c-6c1b-5b56-9f53-0c1a2b3c4d5e {"version":"4"`
			for deadline := time.Now().Add(30 * time.Second); !strings.Contains(said(), want); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) { // it says so after it has answered
					t.Fatalf("it said %q, want %q", said(), want)
				}
			}
			for name, forge := range forgeries() {
				if err := send(t, url, forge); err == nil || !strings.Contains(err.Error(), "401") {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func forgeries() map[string]func(*http.Request) {
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	return map[string]func(*http.Request){
		"another id": set("webhook-id", "msg_other"), "an old time": set("webhook-timestamp", "1614265330"), "no time": set("webhook-timestamp", "soon"),
		"no signature": set("webhook-signature", ""), "another signature": set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
		"another body": func(r *http.Request) { r.Body, r.ContentLength = readCloser{strings.NewReader("{}")}, 2 },
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

func TestTheShellOfTheManual(t *testing.T) {
	shell := lookUp(t, "sh")
	lookUp(t, "openssl")
	header, content, err := delivery(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script, body := filepath.Join(dir, "verify.sh"), filepath.Join(dir, "body.json")
	run := func(content []byte, signature string) string {
		t.Helper()
		for name, b := range map[string][]byte{script: []byte(manual(t, "sh")), body: content} {
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), shell, script, header.Get("webhook-id"), header.Get("webhook-timestamp"), signature, body)
		cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret)
		out, err := cmd.CombinedOutput()
		if (err == nil) != (string(out) == "genuine\n") {
			t.Errorf("%v: %s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	signature := header.Get("webhook-signature")
	for _, c := range []struct {
		content         []byte
		signature, want string
	}{{content, signature, "genuine"}, {content, "v1,AAAA " + signature, "genuine"}, {append(content, ' '), signature, "forged"}} {
		if said := run(c.content, c.signature); said != c.want {
			t.Errorf("it said %q, want %q", said, c.want)
		}
	}
}

func lookUp(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("SKIPPED, NOT RUN: the manual's example needs %s on this machine", tool)
	}
	return path
}

// listening starts the program and waits until it listens. It is ended with the test, and so are its children.
func listening(t *testing.T, program string, args []string) (url string, said func() string) {
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
