package safehttp_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/tokiflow/tokiflow/infra/safehttp"
)

func dial(t *testing.T, o safehttp.Options, network, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := safehttp.DialContext(o)(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

func TestDialContextRefusesPrivateAddresses(t *testing.T) {
	_, port, _ := target(t, false)
	resolver := fakeDNS(t, func(name string) string {
		if name == "mail.test." {
			return "127.0.0.1"
		}
		return ""
	})
	for _, host := range []string{"127.0.0.1", "::1", "localhost", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1"} {
		if err := dial(t, safehttp.Options{}, "tcp", net.JoinHostPort(host, port)); !errors.Is(err, safehttp.ErrForbidden) {
			t.Errorf("%s: got %v", host, err)
		}
	}
	if err := dial(t, safehttp.Options{Resolver: resolver}, "tcp", net.JoinHostPort("mail.test", port)); !errors.Is(err, safehttp.ErrForbidden) {
		t.Errorf("a name that resolves to a private address: %v", err)
	}
	if err := dial(t, safehttp.Options{AllowPrivate: true, Resolver: resolver}, "tcp", net.JoinHostPort("mail.test", port)); err != nil {
		t.Errorf("where private addresses are allowed: %v", err)
	}
	if err := dial(t, safehttp.Options{AllowPrivate: true}, "tcp", net.JoinHostPort("169.254.169.254", "80")); !errors.Is(err, safehttp.ErrForbidden) {
		t.Errorf("link-local, where private addresses are allowed: %v", err)
	}
}

func TestDialContextIsForTCP(t *testing.T) {
	if err := dial(t, safehttp.Options{AllowPrivate: true}, "udp", "127.0.0.1:53"); !errors.Is(err, safehttp.ErrForbidden) {
		t.Errorf("UDP: got %v", err)
	}
	if err := dial(t, safehttp.Options{AllowPrivate: true}, "unix", "/var/run/docker.sock"); !errors.Is(err, safehttp.ErrForbidden) {
		t.Errorf("a unix socket: got %v", err)
	}
}

func TestDialContextEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := safehttp.DialContext(safehttp.Options{})(ctx, "tcp", "1.1.1.1:25"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
