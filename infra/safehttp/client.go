// Package safehttp makes HTTP clients for addresses that a customer wrote down: they reach public hosts only.
//
// The check is made on the address that is about to be connected to, after every name has been resolved, so neither a
// name that resolves to a private address, nor one that changes between check and use, nor an unusual spelling of an
// address gets past it. Redirects are not followed and proxies of the environment are not used: behind a proxy the
// address checked would be the proxy's own.
package safehttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// Options of a client. The zero value is the safe default.
type Options struct {
	// AllowPrivate also allows loopback, private, unique-local and shared (carrier-grade NAT) addresses. Link-local,
	// multicast, unspecified and reserved addresses and the metadata services of clouds stay closed.
	AllowPrivate bool
	// RootCAs verify the hosts' certificates; nil: those of the system.
	RootCAs *x509.CertPool
	// Resolver resolves names; nil: the system's.
	Resolver *net.Resolver
	// IdlePerHost is how many connections to one host are kept for the next request. 0: 32.
	IdlePerHost int
}

// New returns a client. It sets no time limit on a whole request: give each a context with a deadline, and limit what is
// read of the answer's body. The client is safe for concurrent use; CloseIdleConnections ends what it keeps open.
func New(o Options) *http.Client {
	if o.IdlePerHost == 0 {
		o.IdlePerHost = 32
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // see the package comment
			DialContext:            DialContext(o),
			ForceAttemptHTTP2:      true,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
			TLSHandshakeTimeout:    5 * time.Second,
			ExpectContinueTimeout:  time.Second,
			MaxIdleConnsPerHost:    o.IdlePerHost,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // a limit on the bytes read is then a limit on the bytes received
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// DialContext returns a function that connects over TCP to the addresses that a client of the same Options reaches, for clients
// of other protocols and for transports that others make: ForceAttemptHTTP2, no Proxy and no redirects are then theirs to see to.
// Only AllowPrivate and Resolver count. A connection that was not made because of its address fails with ErrForbidden; an attempt
// takes 5 s at most. The function is safe for concurrent use.
func DialContext(o Options) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{
		Timeout:   5 * time.Second,
		KeepAlive: 30 * time.Second,
		Resolver:  o.Resolver,
		Control:   newGuard(o.AllowPrivate).control,
	}
	return dialer.DialContext
}
