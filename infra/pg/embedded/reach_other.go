//go:build unix && !linux

package embedded

import (
	"os/exec"
	"strconv"
	"strings"
)

func dataPath(s *Server) string { return s.cluster() }

func (s *Server) canReach() error { return s.account.CanReach(s.cluster()) }

func (s *Server) socketDir() string { return s.cluster() }

func dieWithParent(*exec.Cmd) {}

// isPostgres reports whether the process is a PostgreSQL server's.
func isPostgres(pid int) bool {
	out, err := exec.Command("ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output() //nolint:gosec,noctx // a number
	return err == nil && strings.HasSuffix(strings.TrimSpace(string(out)), "postgres")
}
