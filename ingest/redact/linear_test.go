//go:build unix

package redact

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that this process has used: what else runs on the machine does not count.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestTimeIsLinear feeds what makes a careless scanner quadratic.
func TestTimeIsLinear(t *testing.T) {
	r := New()
	for _, piece := range []string{
		"eyJ", "eyJ.", "eyJ-", "sk-", "sk-a", "ghp_", "AKIA", "pwd=/", "password=", "password:\"", "password='\\", "cookie:", "a://b:", "://",
		"Bearer ", "Bearer a", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY!", "--", "--token ", "--token -", "=", ":", "\\\"=", "SG.", "token=null ",
		"hooks.slack.com/services/", "a", " ", "password     ",
	} {
		const size = 256 << 10
		in := []byte(strings.Repeat(piece, size/len(piece)))
		begun := cpu(t)
		r.Bytes(in, true)
		r.Bytes(in, false)
		// It takes a few milliseconds, some fifty with the race detector; a quadratic scan takes ten seconds and more.
		if took := cpu(t) - begun; took > 3*time.Second {
			t.Errorf("%q repeated: %v for %d bytes", piece, took, 2*size)
		}
	}
}
