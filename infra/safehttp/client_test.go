package safehttp_test

import (
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tokiflow/tokiflow/infra/safehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// target is a server on loopback that counts what reaches it.
func target(t *testing.T, secure bool) (server *httptest.Server, port string, hits *atomic.Int64) {
	t.Helper()
	hits = new(atomic.Int64)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits.Add(1)
		_, _ = io.WriteString(w, "inside")
	}))
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return server, port, hits
}

func get(t *testing.T, c *http.Client, url string) (status int, err error) {
	t.Helper()
	t.Cleanup(c.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Body.Close()
}

func TestPrivateHostsAreNotReached(t *testing.T) {
	_, port, hits := target(t, false)
	for _, host := range []string{
		"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "[::ffff:7f00:1]",
		"2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", // not addresses for Go, but for some resolvers
		"169.254.169.254", "[fe80::1%25lo]", "user:password@127.0.0.1",
	} {
		_, err := get(t, safehttp.New(safehttp.Options{}), "http://"+host+":"+port+"/")
		if err == nil {
			t.Errorf("%s was reached", host)
			continue
		}
		var unknown *net.DNSError // the odd spellings, where the resolver refuses them first
		if !errors.Is(err, safehttp.ErrForbidden) && !errors.As(err, &unknown) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests went through", n)
	}
	if status, err := get(t, safehttp.New(safehttp.Options{AllowPrivate: true}), "http://localhost:"+port); err != nil || status != 200 {
		t.Errorf("where private addresses are allowed: %d, %v", status, err)
	}
}

func TestNamesThatResolveToPrivateAddresses(t *testing.T) {
	_, port, hits := target(t, false)
	var asked atomic.Int64
	resolver := fakeDNS(t, func(name string) string {
		switch name {
		case "private.test.":
			return "127.0.0.1"
		case "rebinding.test.": // public when looked at, private when used
			if asked.Add(1) == 1 {
				return "192.0.2.1"
			}
			return "127.0.0.1"
		}
		return ""
	})
	c := safehttp.New(safehttp.Options{Resolver: resolver})
	for _, host := range []string{"private.test", "rebinding.test", "rebinding.test"} {
		if _, err := get(t, c, "http://"+host+":"+port+"/"); !errors.Is(err, safehttp.ErrForbidden) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if asked.Load() < 2 {
		t.Errorf("the name was resolved %d times", asked.Load())
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests went through", n)
	}
	open := safehttp.New(safehttp.Options{Resolver: resolver, AllowPrivate: true})
	if _, err := get(t, open, "http://private.test:"+port+"/"); err != nil {
		t.Errorf("the fake resolver does not work: %v", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	_, port, hits := target(t, false)
	for _, status := range []int{301, 302, 303, 307, 308} {
		from := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:"+port+"/inside", status))
		got, err := get(t, safehttp.New(safehttp.Options{AllowPrivate: true}), from.URL)
		if err != nil || got != status {
			t.Errorf("%d: got %d, %v", status, got, err)
		}
		from.Close()
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
}

func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	proxy, _, hits := target(t, false)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	c := safehttp.New(safehttp.Options{})
	if _, err := get(t, c, "http://10.255.255.1/"); !errors.Is(err, safehttp.ErrForbidden) {
		t.Errorf("got %v", err)
	}
	if n := hits.Load(); n != 0 {
		t.Errorf("%d requests went through the proxy", n)
	}
	if c.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy is set")
	}
}

func TestCertificatesAreVerified(t *testing.T) {
	server, _, hits := target(t, true)
	_, err := get(t, safehttp.New(safehttp.Options{AllowPrivate: true}), server.URL)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || hits.Load() != 0 {
		t.Errorf("got %v, %d requests", err, hits.Load())
	}
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	c := safehttp.New(safehttp.Options{AllowPrivate: true, RootCAs: pool})
	if status, err := get(t, c, server.URL); err != nil || status != 200 {
		t.Errorf("got %d, %v", status, err)
	}
	_, err = get(t, c, strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
	if _, ok := errors.AsType[x509.HostnameError](err); !ok {
		t.Errorf("a certificate of another host: %v", err)
	}
}

// fakeDNS resolves names by answer (an IPv4 address, or none) over UDP on loopback.
func fakeDNS(t *testing.T, answer func(name string) string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo(dnsReply(buf[:n], answer), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// dnsReply answers a query of one question (RFC 1035, section 4).
func dnsReply(query []byte, answer func(string) string) []byte {
	var name strings.Builder
	at := 12
	for query[at] != 0 {
		length := int(query[at])
		name.Write(query[at+1 : at+1+length])
		name.WriteByte('.')
		at += 1 + length
	}
	question := query[12 : at+5]
	reply := append([]byte{}, query[:2]...)
	reply = append(reply, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0)
	reply = append(reply, question...)
	ip := net.ParseIP(answer(name.String())).To4()
	if ip == nil || binary.BigEndian.Uint16(query[at+1:]) != 1 { // type A
		return reply
	}
	reply[7] = 1
	reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
	return append(reply, ip...)
}
