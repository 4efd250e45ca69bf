package safehttp

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	const (
		always = "public" // allowed in any case
		asked  = "private"
		never  = "never"
	)
	for _, c := range []struct{ addr, want string }{
		{"93.184.216.34", always},
		{"1.1.1.1", always},
		{"2606:4700:4700::1111", always},
		{"::ffff:1.1.1.1", always},
		{"64:ff9b::101:101", always}, // 1.1.1.1 through NAT64

		{"127.0.0.1", asked},
		{"127.8.9.10", asked},
		{"::1", asked},
		{"::ffff:127.0.0.1", asked},
		{"64:ff9b::7f00:1", asked},
		{"10.0.0.1", asked},
		{"172.16.0.1", asked},
		{"172.31.255.255", asked},
		{"192.168.1.1", asked},
		{"::ffff:192.168.1.1", asked},
		{"100.64.0.1", asked}, // carrier-grade NAT
		{"fd12:3456::1", asked},
		{"fc00::1", asked},

		{"0.0.0.0", never},
		{"0.1.2.3", never},
		{"::", never},
		{"169.254.1.1", never},
		{"169.254.169.254", never},
		{"::ffff:169.254.169.254", never},
		{"64:ff9b::a9fe:a9fe", never},
		{"64:ff9b:1::a9fe:a9fe", never}, // a network's own NAT64: nobody knows where the address is in it
		{"fe80::1", never},
		{"fe80::1%eth0", never},
		{"fec0::1", never},
		{"100.100.100.200", never},
		{"168.63.129.16", never},
		{"fd00:ec2::254", never},
		{"fd20:ce::254", never},
		{"192.0.0.192", never},
		{"192.0.2.1", never},
		{"198.18.0.1", never},
		{"203.0.113.7", never},
		{"224.0.0.1", never},
		{"239.255.255.255", never},
		{"240.0.0.1", never},
		{"255.255.255.255", never},
		{"ff02::1", never},
		{"2001:db8::1", never},
		{"2002:7f00:1::", never},            // 127.0.0.1 as 6to4
		{"2001:0:7f00:1::", never},          // Teredo
		{"::7f00:1", never},                 // 127.0.0.1 as an IPv4-compatible address
		{"::ffff:0:127.0.0.1", never},       // as an IPv4-translated one
		{"0:0:0:0:0:ffff:7f00:1", asked},    // as an IPv4-mapped one, written otherwise
		{"100::1", never},                   // discard
		{"5f00::1", never},                  // segment routing
		{"2620:4f:8000::1", never},          // AS112
		{"::ffff:100.100.100.200", never},   // metadata, mapped
		{"64:ff9b::100.100.100.200", never}, // metadata, through NAT64
	} {
		addr := netip.MustParseAddr(c.addr)
		for _, private := range []bool{false, true} {
			want := c.want == always || c.want == asked && private
			err := newGuard(private).check(addr)
			if (err == nil) != want {
				t.Errorf("%s, private ones allowed %t: got %v", c.addr, private, err)
			}
			if err != nil && (!errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), addr.String())) {
				t.Errorf("%s: the error must be ErrForbidden and name the address: %v", c.addr, err)
			}
		}
	}
}

func TestControlWantsTCPAndAnAddress(t *testing.T) {
	g := newGuard(true)
	if err := g.control("tcp4", "127.0.0.1:80", nil); err != nil {
		t.Error(err)
	}
	for _, c := range [][2]string{
		{"udp4", "1.1.1.1:80"}, {"unix", "/var/run/docker.sock"}, {"tcp", "1.1.1.1:80"}, {"tcp4", "example.com:80"}, {"tcp4", ""},
	} {
		if err := g.control(c[0], c[1], nil); !errors.Is(err, ErrForbidden) {
			t.Errorf("%v: got %v", c, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for _, c := range []struct {
		url             string
		public, private bool // accepted without and with AllowPrivate
	}{
		{"https://example.com/hook?token=s3cret", true, true},
		{"http://example.com:8080", true, true},
		{"https://1.1.1.1/", true, true},
		{"http://127.0.0.1:9000/x", false, true},
		{"http://[::1]:9000/x", false, true},
		{"http://localhost:9000/", false, true},
		{"http://LOCALHOST./", false, true},
		{"http://a.localhost/", false, true},
		{"http://10.1.2.3/", false, true},
		{"http://169.254.169.254/latest/meta-data", false, false},
		{"http://[fe80::1%25eth0]/", false, false},
		{"http://0.0.0.0/", false, false},
		{"ftp://example.com/", false, false},
		{"file:///etc/passwd", false, false},
		{"example.com/hook", false, false},
		{"https://", false, false},
		{"https:///path", false, false},
		{"http://:80/", false, false},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		for private, want := range map[bool]bool{false: c.public, true: c.private} {
			err := CheckURL(u, private)
			if (err == nil) != want {
				t.Errorf("%s, private ones allowed %t: got %v", c.url, private, err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: a secret in %v", c.url, err)
			}
		}
	}
}

func FuzzGuard(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "64:ff9b::1", "8.8.8.8"} {
		f.Add(s)
	}
	strict, loose := newGuard(false), newGuard(true)
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		open := strict.check(addr) == nil
		plain := addr.Unmap()
		if open && (plain.IsPrivate() || plain.IsLoopback() || plain.IsLinkLocalUnicast() || plain.IsMulticast() || plain.IsUnspecified()) {
			t.Errorf("%s is open", s)
		}
		if open && loose.check(addr) != nil {
			t.Errorf("%s is closed where more is allowed", s)
		}
	})
}
