package safehttp

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrForbidden is wrapped by the error of every connection that was not made because of its address.
var ErrForbidden = errors.New("forbidden address")

// guard says which addresses may be connected to. The list of special networks is kept by package ssrf in step with the
// registries of IANA.
type guard struct {
	addresses    *ssrf.Guardian
	metadata     []netip.Addr
	nat64        netip.Prefix
	allowPrivate bool
}

func newGuard(allowPrivate bool) guard {
	options := []ssrf.Option{ssrf.WithAnyPort()}
	if allowPrivate {
		options = append(options,
			ssrf.WithAllowedV4Prefixes(
				netip.MustParsePrefix("127.0.0.0/8"),
				netip.MustParsePrefix("10.0.0.0/8"),
				netip.MustParsePrefix("172.16.0.0/12"),
				netip.MustParsePrefix("192.168.0.0/16"),
				netip.MustParsePrefix("100.64.0.0/10"),
			),
			ssrf.WithAllowedV6Prefixes(
				netip.MustParsePrefix("::1/128"),
				netip.MustParsePrefix("fc00::/7"),
			))
	}
	return guard{
		addresses: ssrf.New(options...),
		// Services that hand out a machine's credentials, where they are not link-local, and so closed anyway.
		metadata: []netip.Addr{
			netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
			netip.MustParseAddr("168.63.129.16"),   // Azure
			netip.MustParseAddr("fd00:ec2::254"),   // AWS
			netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
		},
		nat64:        netip.MustParsePrefix("64:ff9b::/96"),
		allowPrivate: allowPrivate,
	}
}

// control is a net.Dialer's Control: it sees the address itself, right before the connection is made.
func (g guard) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: %s is not TCP", ErrForbidden, network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is not an address and a port", ErrForbidden, address)
	}
	return g.check(to.Addr())
}

// check returns nil for an address that may be connected to.
func (g guard) check(addr netip.Addr) error {
	to := addr.Unmap().WithZone("")
	if g.nat64.Contains(to) { // an IPv4 address as an IPv6-only network reaches it: that one counts
		b := to.As16()
		to = netip.AddrFrom4([4]byte(b[12:]))
	}
	if slices.Contains(g.metadata, to) {
		return fmt.Errorf("%w: %s is the metadata service of a cloud", ErrForbidden, addr)
	}
	if g.addresses.SafeAddr(to) == nil {
		return nil
	}
	if g.allowPrivate {
		return fmt.Errorf("%w: %s is link-local, multicast or reserved", ErrForbidden, addr)
	}
	return fmt.Errorf("%w: %s is not a public address, and private ones are not allowed here", ErrForbidden, addr)
}

// CheckURL tells at start what would fail at every request: a URL that is not http or https, has no host, or whose host
// is an address (or localhost) that may not be connected to. Other names are not resolved: they are checked when they are used.
// The error does not hold the URL, which may have secrets in it.
func CheckURL(u *url.URL, allowPrivate bool) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("the URL must start with http:// or https://")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if host == "" {
		return errors.New("the URL has no host")
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil //nolint:nilerr // a name, no address: it is looked at when it is resolved
	}
	return newGuard(allowPrivate).check(addr)
}
