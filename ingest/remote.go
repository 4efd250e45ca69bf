package ingest

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxUserAgent is how much of the User-Agent is kept, in bytes.
const maxUserAgent = 200

// userAgent is the User-Agent as it can be stored: valid UTF-8, not too long.
func userAgent(r *http.Request) string {
	ua := r.Header["User-Agent"]
	if len(ua) == 0 {
		return ""
	}
	s := ua[0]
	if len(s) > maxUserAgent {
		s = s[:maxUserAgent]
		for len(s) > 0 && !utf8.RuneStart(ua[0][len(s)]) {
			s = s[:len(s)-1]
		}
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// remoteAddr is the client's IP address without port and zone; "" where there is none (a Unix socket).
//
// X-Forwarded-For is a claim of whoever sent it. It is read from its end, where the nearest proxy has written, for as
// long as the address that speaks is a trusted proxy.
func remoteAddr(r *http.Request, trusted []netip.Prefix) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	if len(trusted) == 0 || !trusts(trusted, peer.Addr()) {
		return plain(r.RemoteAddr, peer.Addr())
	}
	client := peer.Addr()
	lines := r.Header["X-Forwarded-For"]
	for _, line := range slices.Backward(lines) {
		for rest := line; rest != ""; {
			var hop string
			if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
				rest, hop = rest[:comma], rest[comma+1:]
			} else {
				rest, hop = "", rest
			}
			addr, ok := parseHop(strings.TrimSpace(hop))
			if !ok {
				return client.WithZone("").String()
			}
			if client = addr; !trusts(trusted, client) {
				return client.WithZone("").String()
			}
		}
	}
	return client.WithZone("").String()
}

// plain cuts the address out of "address:port" where that needs no new string.
func plain(hostport string, addr netip.Addr) string {
	if addr.Zone() != "" {
		return addr.WithZone("").String()
	}
	host := hostport[:strings.LastIndexByte(hostport, ':')]
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// parseHop reads an address as proxies write it: bare, in brackets, or with a port.
func parseHop(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return addr, true
	}
	hop, err := netip.ParseAddrPort(s)
	return hop.Addr(), err == nil
}

func trusts(trusted []netip.Prefix, addr netip.Addr) bool {
	addr = addr.WithZone("").Unmap()
	for _, p := range trusted {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
