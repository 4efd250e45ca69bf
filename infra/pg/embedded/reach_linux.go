package embedded

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
)

// dataPath is how the server itself finds its data folder: by the descriptor it inherits, so that the folders above may be
// closed to its account. As root in a home folder they are.
func dataPath(*Server) string { return "/proc/self/fd/3" }

// canReach is nil: see dataPath.
func (s *Server) canReach() error { return nil }

// maxSocketPath is what fits into a socket's address, less its file name.
const maxSocketPath = 107 - len("/.s.PGSQL.5432")

// socketDir is how we find the socket; a path too long for a socket's address goes by our own descriptor.
func (s *Server) socketDir() string {
	if dir := s.cluster(); len(dir) <= maxSocketPath {
		return dir
	}
	return fmt.Sprintf("/proc/self/fd/%d", s.data.Fd())
}

// dieWithParent has the server end, in an orderly way, when the thread that starts it does.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr.Pdeathsig = syscall.SIGINT }

// isPostgres reports whether the process is a PostgreSQL server's.
func isPostgres(pid int) bool {
	exe, err := filepath.EvalSymlinks(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && filepath.Base(exe) == "postgres"
}
