package receivers_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/alerting/receivers"
	"github.com/tokiflow/tokiflow/core/alert"
)

// service is a server that speaks a protocol, and answers with what is set.
type service struct {
	*httptest.Server
	status atomic.Int64
	got    atomic.Value // string: method, path and body of the last request
	hits   atomic.Int64
}

func serve(t testing.TB, p protocol) *service {
	t.Helper()
	s := &service{}
	s.got.Store("")
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.got.Store(r.Method + " " + r.URL.Path + "\n" + r.URL.RawQuery + string(body))
		s.hits.Add(1)
		status := int(s.status.Load())
		if strings.HasSuffix(r.URL.Path, "/gettoken") {
			status = http.StatusOK // wechat's first request
		}
		contentType, answer := "application/json", "{}"
		if p.answer != nil {
			contentType, answer = p.answer(r, status)
		}
		raw(w, status, contentType, answer)
	}))
	if p.secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// bundleOf dials the server whatever the protocol asks for.
func bundleOf(t testing.TB, s *httptest.Server, change ...func(*receivers.Options)) *bundle {
	dial := to(s.Listener.Addr().String())
	return newBundle(t, append([]func(*receivers.Options){func(o *receivers.Options) { o.Dial, o.Client = dial, through(t, dial) }}, change...)...)
}

// Every kind, every status: taken, tried again or not, as the shared table says; what is written down agrees, and tells no secret.
func TestEveryStatusOfEveryKind(t *testing.T) {
	for _, p := range protocols() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, p)
			b := bundleOf(t, s.Server)
			i := b.integration(b.config(p.list, p.written(s.URL)))
			for status := 100; status <= 599; status++ {
				s.status.Store(int64(status))
				ctx, cancel := flush(t, uint64(status))
				retry, err := i.Notify(ctx, firing("nightly backup")...)
				cancel()
				if (err == nil) != p.taken(status) {
					t.Errorf("%d: %v", status, err)
				}
				want := p.retried(status)
				if status <= 299 && status >= 200 && !p.taken(status) {
					want = true // neither a success nor a refusal that it knows
				}
				if (p.name == "jira" || p.name == "slack") && status == http.StatusNoContent {
					want = false // an answer without what they look for: the next flush
				}
				if retry != want {
					t.Errorf("%d: tried again %t, want %t: %v", status, retry, want, err)
				}
				if err != nil && strings.Contains(err.Error(), "hidden") {
					t.Fatalf("%d: a secret in %v", status, err)
				}
			}
			got := s.got.Load().(string)
			for _, w := range p.contains {
				if !strings.Contains(got, w) {
					t.Errorf("the request does not have %q:\n%s", w, got)
				}
			}
			checkRows(t, b, p)
		})
	}
}

// checkRows looks at what was written down of the notifications of TestEveryStatusOfEveryKind.
func checkRows(t *testing.T, b *bundle, p protocol) {
	t.Helper()
	codes := map[int]int{}
	for _, n := range b.rows.wait(t, func(all []alert.Notification) bool {
		for _, n := range all {
			if n.EndedAt.IsZero() {
				return false
			}
		}
		return len(all) == 500
	}) {
		if n.Status == alert.Retrying || n.Attempts != 1 || n.AlertCount != 1 || n.FiringCount != 1 || n.Receiver != "ops" || n.GroupKey == "" ||
			len(n.Alerts) != 1 || n.Alerts[0].Incident == nil || n.Reason != "first notification" {
			t.Fatalf("%+v", n)
		}
		if strings.Contains(n.Error, "hidden") || (n.Error == "") != (n.Status == alert.Delivered) {
			t.Fatalf("%+v", n)
		}
		codes[n.StatusCode]++
	}
	for status := 300; status <= 599; status++ {
		if codes[status] != 1 && (!p.bodies || status != http.StatusNotModified) {
			t.Errorf("the status %d is written down %d times", status, codes[status])
		}
	}
}

func TestNoConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	for _, p := range protocols() {
		t.Run(p.name, func(t *testing.T) {
			b := newBundle(t, func(o *receivers.Options) { o.Dial, o.Client = to(closed), through(t, to(closed)) })
			i := b.integration(b.config(p.list, p.written("http://"+closed)))
			fails(t, b, i.Notify, "refused")
		})
	}
}

// A server that cannot prove who it is gets nothing.
func TestCertificatesAreVerified(t *testing.T) {
	for _, p := range protocols() {
		t.Run(p.name, func(t *testing.T) {
			hits := new(atomic.Int64)
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it complains of what the test wants
			s.StartTLS()
			t.Cleanup(s.Close)
			b := newBundle(t, func(o *receivers.Options) { o.Dial = to(s.Listener.Addr().String()) })
			entry := strings.Replace(p.written(s.URL), "insecure_skip_verify: true", "insecure_skip_verify: false", 1)
			fails(t, b, b.integrationOf(p.list, entry).Notify, "certificate")
			if hits.Load() != 0 {
				t.Error("something was sent")
			}
		})
	}
}

// A server that takes the request and never answers costs an attempt its time, and no more.
func TestHangingServers(t *testing.T) {
	for _, p := range protocols() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			stop := make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-stop
			}))
			if p.secure {
				s.StartTLS()
			} else {
				s.Start()
			}
			t.Cleanup(func() { close(stop); s.Close() })
			b := bundleOf(t, s, func(o *receivers.Options) { o.AttemptTimeout = 300 * time.Millisecond })
			start := time.Now()
			fails(t, b, b.integrationOf(p.list, p.written(s.URL)).Notify, "")
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// A server that never stops answering is not listened to for long.
func TestHugeAnswers(t *testing.T) {
	for _, p := range protocols() {
		for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
			t.Run(p.name+" "+http.StatusText(status), func(t *testing.T) {
				t.Parallel()
				var sent atomic.Int64
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(status)
					_, _ = io.WriteString(w, `{"ok":false,"error":"`)
					for chunk := []byte(strings.Repeat("x", 64<<10)); ; {
						n, err := w.Write(chunk)
						sent.Add(int64(n))
						if err != nil || sent.Load() > 1<<30 {
							return
						}
					}
				}))
				if p.secure {
					s.StartTLS()
				} else {
					s.Start()
				}
				t.Cleanup(s.Close)
				b := bundleOf(t, s)
				ctx, _ := flush(t, 1)
				i := b.integrationOf(p.list, p.written(s.URL))
				_, err := i.Notify(ctx, firing("nightly backup")...)
				if err != nil && len(err.Error()) > 2100 {
					t.Errorf("an error of %d bytes", len(err.Error()))
				}
				s.CloseClientConnections()
				if n := sent.Load(); n > 64<<20 { // what the sockets hold, and a MiB
					t.Errorf("%d bytes were taken", n)
				}
			})
		}
	}
}
